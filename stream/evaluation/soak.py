"""Whether memory grows while documents stream by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Caches and pools fill, and allocators find their level, before growth is judged.
_WARM_UP = 0.25
_STEP = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment.

    Attributes:
        documents: Finished by then.
        resident_mb: Resident memory in MiB, by process.
    """

    documents: int
    resident_mb: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """One process's memory over a run, in MiB.

    Attributes:
        first: At the first sample.
        warm: After the first quarter of the documents, on the line fitted to all samples from there on.
        last: At the last document, on that line.
        most: The largest sample.
        per_10k: The line's slope: MiB for 10,000 documents.
    """

    first: float
    warm: float
    last: float
    most: float
    per_10k: float


def growth(samples: Sequence[Sample], process: str) -> Growth:
    """Fit a line, by least squares, to what a process held after the warm-up.

    Args:
        samples: In order; all of them know the process, and two at least come after the first quarter of the
            documents.
        process: Its name.
    """
    documents = np.array([sample.documents for sample in samples])
    memory = np.array([sample.resident_mb[process] for sample in samples])
    warm = documents >= _WARM_UP * documents[-1]
    slope, start = np.polyfit(documents[warm], memory[warm], 1)
    on_line = start + slope * documents[warm]
    return Growth(
        float(memory[0]), float(on_line[0]), float(on_line[-1]), float(memory.max()), float(slope * _STEP)
    )

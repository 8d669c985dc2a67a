"""The log of a run: ``metrics.jsonl``, one JSON object a line."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import structlog
import torch
from torch import Tensor

from stream.training.packing import Batch

log = structlog.get_logger(__name__)


class Metrics:
    """Appends lines, each with the ``step`` it was written at and an ``event``.

    Args:
        path: The file; a run that goes on adds to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, step: int, **values: Any) -> None:
        """Add a line, and log it."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, "event": event, **values}) + "\n")
        log.info(event, step=step, **values)

    def lines(self) -> list[dict[str, Any]]:
        """All lines; what a kill left half written is left out."""
        if not self._path.exists():
            return []
        whole = self._path.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def rewind(self, step: int) -> None:
        """Forget what was written after a step: it will be written again."""
        kept = [json.dumps(line) + "\n" for line in self.lines() if line["step"] <= step]
        fresh = self._path.with_suffix(".part")
        fresh.write_text("".join(kept), encoding="utf-8")
        fresh.rename(self._path)


class Window:
    """What steps said since the last line of the log; nothing is waited for until its means are asked for."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []
        self._tokens: list[int] = []
        self._documents: list[int] = []

    def add(self, parts: dict[str, Tensor], batch: Batch) -> None:
        """Take in a step: the parts of its loss and what it was made on."""
        self._parts.append(parts)
        self._tokens.append(batch.ids.size)
        self._documents.append(batch.documents)

    def means(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Losses, tokens and documents of a step.

        Args:
            total: Sums a loss over all processes.
        """
        losses = {
            name: float(total(torch.stack([parts[name] for parts in self._parts]).mean()))
            for name in self._parts[0]
        }
        sizes = {"tokens": mean(self._tokens), "documents": mean(self._documents)}
        return {name: round(value, 4) for name, value in (losses | sizes).items()}

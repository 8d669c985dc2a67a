"""A document to its entities, by parallel decoding (PaDeLLM-NER, section 3.2).

All count prompts of a window leave together; a label's mention prompts leave as soon as its count is back.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from stream.aio import all_of
from stream.contract.messages import Document, Policy
from stream.generation import Generator
from stream.ner.labels import LabelPrompt, LabelPrompts
from stream.ner.postprocess import Extraction, Found, settle
from stream.ner.reading import Reader, Reading, WindowReader
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window, windows

__all__ = ["Extraction", "Extractor"]


class Extractor:
    """Extracts the entities of documents; any number of documents may be extracted at once.

    Args:
        generator: Runs the model.
        template: The checkpoint's prompts.
        policy: De-duplication where a document names none.
        threshold: Lowest score where a document names none.
        windows_in_flight: Windows of one document read at once; it bounds the memory a long document takes.
        reader: Reads windows in another form than PaDeLLM's.

    Attributes:
        threshold: As given.
        calibration: The checkpoint's.
    """

    def __init__(
        self,
        generator: Generator,
        template: PromptTemplate,
        *,
        policy: Policy = Policy.PAPER,
        threshold: float = 0.0,
        windows_in_flight: int = 8,
        reader: Reader | None = None,
    ) -> None:
        self._template = template
        self._policy = policy
        self.threshold = threshold
        self.calibration = template.config.calibration
        self._windows_in_flight = windows_in_flight
        self._labels = LabelPrompts(template)
        self._reader = reader or WindowReader(generator, template)

    async def extract(self, document: Document) -> Extraction:
        """Find the entities of one document.

        Raises:
            stream.errors.InferenceError: The model did not answer; nothing of the document is returned.
        """
        began = time.perf_counter()
        extraction = settle(
            await self.read(document),
            policy=document.policy or self._policy,
            threshold=self.threshold if document.threshold is None else document.threshold,
            calibration=self.calibration,
        )
        extraction.timings["total"] = (time.perf_counter() - began) * 1000
        return extraction

    async def read(self, document: Document) -> Found:
        """Ask the model everything about one document, and settle nothing yet.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        labels = self._labels.of(document)
        readings = await self._read(document.text, labels)
        return Found(document.text, self._labels.names(document), labels, readings)

    async def _read(self, text: str, labels: Sequence[LabelPrompt]) -> list[Reading]:
        """Read all windows, at most ``windows_in_flight`` at once; each is cut when its turn comes."""
        ahead = windows(text, self._template)
        first = next(ahead, None)
        if first is None:
            return []
        if first.closes:
            return [await self._reader.read(text, first, labels)]
        queue = chain([first], ahead)
        readings = await all_of(self._read_from(queue, text, labels) for _ in range(self._windows_in_flight))
        return sorted(chain.from_iterable(readings), key=lambda reading: reading.window.start)

    async def _read_from(
        self, queue: Iterator[Window], text: str, labels: Sequence[LabelPrompt]
    ) -> list[Reading]:
        readings = []
        for window in queue:
            readings.append(await self._reader.read(text, window, labels))
            # Cutting a window takes a millisecond; other documents come between.
            await asyncio.sleep(0)
        return readings

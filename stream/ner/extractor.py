"""A document to its entities, by parallel decoding (PaDeLLM-NER, section 3.2).

All count prompts of a window leave together; a label's mention prompts leave as soon as its count is back.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from stream.aio import all_of
from stream.contract.messages import Document, Policy
from stream.generation import Generator, asked_for
from stream.ner.labels import LabelPrompt, LabelPrompts
from stream.ner.parallel_decoding import ParallelDecoder, WindowDecoder, WindowResult
from stream.ner.postprocess import Extraction, RawExtraction, postprocess
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window, windows

__all__ = ["Extraction", "Extractor"]


class Extractor:
    """Extracts the entities of documents; any number of documents may be extracted at once.

    Args:
        generator: Runs the model.
        template: The checkpoint's prompts.
        policy: De-duplication where a document names none; None: the checkpoint's.
        threshold: Lowest score where a document names none.
        windows_in_flight: Windows of one document decoded at once; bounds the memory of a long document.
        decoder: Decodes windows in another prompt format than PaDeLLM's.

    Attributes:
        policy: De-duplication where a document names none.
        threshold: Lowest score where a document names none.
        calibration: The checkpoint's.
    """

    def __init__(
        self,
        generator: Generator,
        template: PromptTemplate,
        *,
        policy: Policy | None = None,
        threshold: float = 0.0,
        windows_in_flight: int = 8,
        decoder: WindowDecoder | None = None,
    ) -> None:
        self._template = template
        self.policy = policy or template.config.policy
        self.threshold = threshold
        self.calibration = template.config.calibration
        self._windows_in_flight = windows_in_flight
        self._labels = LabelPrompts(template)
        self._decoder = decoder or ParallelDecoder(generator, template)

    async def extract(self, document: Document, *, sure: float | None = None) -> Extraction:
        """Find the entities of one document.

        Args:
            document: The text and what is asked for.
            sure: Keep a label only where the model gives each of its answers, a count of none too, at least
                this probability, in [0, 1]; ``labels`` then names those kept. None: keep all.

        Raises:
            stream.errors.InferenceError: The model did not answer; nothing of the document is returned.
        """
        began = time.perf_counter()
        raw = await self.ask(document)
        extraction = postprocess(
            raw if sure is None else raw.sure(sure),
            policy=document.policy or self.policy,
            threshold=self.threshold if document.threshold is None else document.threshold,
            calibration=self.calibration,
        )
        extraction.timings["total"] = (time.perf_counter() - began) * 1000
        return extraction

    async def ask(self, document: Document) -> RawExtraction:
        """Ask the model everything about one document, without post-processing.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        labels = self._labels.of(document)
        with asked_for(document.id or "direct"):
            windows_read = await self._decode(document.text, labels)
        return RawExtraction(document.text, self._labels.names(document), labels, windows_read)

    async def _decode(self, text: str, labels: Sequence[LabelPrompt]) -> list[WindowResult]:
        """Decode all windows, at most ``windows_in_flight`` at once; each is cut when its turn comes."""
        ahead = windows(text, self._template)
        first = next(ahead, None)
        if first is None:
            return []
        if first.closes:
            return [await self._decoder.decode(text, first, labels)]
        queue = chain([first], ahead)
        results = await all_of(self._decode_from(queue, text, labels) for _ in range(self._windows_in_flight))
        return sorted(chain.from_iterable(results), key=lambda result: result.window.start)

    async def _decode_from(
        self, queue: Iterator[Window], text: str, labels: Sequence[LabelPrompt]
    ) -> list[WindowResult]:
        results = []
        for window in queue:
            results.append(await self._decoder.decode(text, window, labels))
            # Cutting a window takes a millisecond: let other documents run in between.
            await asyncio.sleep(0)
        return results

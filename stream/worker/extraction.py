"""Retry policy toward the model: a document is given up only while the model answers others."""

import asyncio
from contextvars import Context

from stream.backoff import pauses
from stream.contract.messages import Document
from stream.errors import (
    InferenceBusy,
    InferenceError,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
)
from stream.ner.extractor import Extraction
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel, count_completions

_OPERATION = "extract"


class _Overtaken(InferenceTimeout):
    """A later document was answered, this one was not."""


_TRIES: dict[type[InferenceError], int] = {_Overtaken: 1, InferenceTimeout: 3, InferenceRejected: 2}
_OTHER_TRIES = 3  # a failed forward pass: the memory that it lacked may be free by then


class RetryingExtractor:
    """Extracts documents, and blames a document only for what is not an outage or an overload.

    Before a document is given up the model is asked to extract a probe, a document that cannot be at fault.
    If the probe fails too, the model is unavailable and the document waits. Time spent in queues is no fault
    either: a document without any completion for ``deadline`` seconds races a probe that is sent after it,
    and is given up when the probe is answered first.

    Args:
        model: Extracts.
        deadline: Seconds that a document may be without a completion.
        metrics: Counts the retries.
        status: Status of the model.
    """

    def __init__(
        self, model: ServedModel, *, deadline: float, metrics: WorkerMetrics, status: DependencyStatus
    ) -> None:
        self._model = model
        self._deadline = deadline
        self._metrics = metrics
        self._status = status
        self._probing = asyncio.Lock()
        self._probes = 0

    async def extract(self, document: Document) -> Extraction:
        """Extract one document; waits while the model is unavailable.

        Raises:
            InferenceTimeout: The model leaves this document without an answer.
            InferenceError: The model refuses this document, or fails on it.
        """
        failures = 0
        for attempt, pause in enumerate(pauses(first=0.2, longest=5.0), start=1):
            try:
                extraction = await self._attempt(document)
            except InferenceUnavailable as error:
                if not isinstance(error, InferenceBusy):  # a full queue is overload, and others are answered
                    self._status.failed(_OPERATION, error)
            except InferenceError as error:
                failures += 1
                if failures >= _TRIES.get(type(error), _OTHER_TRIES):
                    if await self._answers_a_probe():
                        error.attempts = attempt
                        raise
                    failures = 0
                    self._status.failed(_OPERATION, f"{error}; a probe was not answered either")
            else:
                self._status.worked(_OPERATION)
                return extraction
            self._metrics.retry("model")
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def _attempt(self, document: Document) -> Extraction:
        completions = count_completions()
        extracting = asyncio.create_task(self._model.extractor.extract(document))
        try:
            while True:
                before = completions.count
                if (await asyncio.wait({extracting}, timeout=self._deadline))[0]:
                    return extracting.result()
                if completions.count > before:
                    continue
                if await self._loses_to_a_probe(extracting) and completions.count == before:
                    raise _Overtaken(
                        f"the model gave this document no answer for {self._deadline:.0f} s and answered a "
                        "later one; send the document again, or raise PADELLM_DOCUMENT_DEADLINE"
                    )
        finally:
            await _cancelled(extracting)

    async def _loses_to_a_probe(self, extracting: asyncio.Task[Extraction]) -> bool:
        """Return whether a probe sent now is answered before the extraction ends."""
        # In a context of its own: its completions are not the document's.
        probing = asyncio.create_task(self._answers_a_probe(), context=Context())
        try:
            await asyncio.wait({extracting, probing}, return_when=asyncio.FIRST_COMPLETED)
            return not extracting.done() and probing.result()
        finally:
            await _cancelled(probing)

    async def _answers_a_probe(self) -> bool:
        """Return whether the model answers a document that cannot be at fault; one probe at a time."""
        async with self._probing:
            self._probes += 1
            # A new text each time, so that no cache answers for the model.
            probe = Document(id="probe", text=f"Probe {self._probes}")
            try:
                async with asyncio.timeout(self._deadline):
                    if not await self._model.generator.ready():
                        return False
                    await self._model.extractor.extract(probe)
            except (InferenceError, TimeoutError):
                return False
            return True


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait for its end; its failure is of no interest any more."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()

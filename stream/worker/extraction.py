"""Retry policy toward the model: a document is given up only for what it does itself."""

import asyncio
import random
import time
from contextvars import Context
from dataclasses import dataclass, replace

import structlog

from stream.backoff import pauses
from stream.contract.messages import Document
from stream.errors import (
    InferenceBusy,
    InferenceCrash,
    InferenceError,
    InferenceModelChanged,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.generation import Origin, origin
from stream.ner.extractor import Extraction
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel, count_prompts
from stream.worker.refusals import RefusalLog
from stream.worker.turns import Turns

_log = structlog.get_logger(__name__)
_OPERATION = "extract"


class _Overtaken(InferenceTimeout):
    """A later document was answered, this one was not."""


_TRIES: tuple[tuple[type[InferenceError], int], ...] = (
    (_Overtaken, 1),
    (InferenceTimeout, 3),
    (InferenceRejected, 2),
    (InferenceError, 3),  # a failed forward pass: the memory that it lacked may be free by then
)
_CRASHES_TOGETHER = 2  # after which a document is tried alone
_CRASHES_ALONE = 2  # after which it is given up
# Workers that share a server try their suspects when it is back. The spread keeps the document of one from
# being there each time that another's kills the server.
_SPREAD = 5.0


@dataclass(slots=True, eq=False)
class _Past:
    """Failures of one document so far.

    Attributes:
        attempts: Tries.
        failures: Tries that failed since the server itself last failed.
        crashes_together: Failures of the server while it had this document, among others.
        crashes_alone: Failures of the server while it had this document alone.
        lost: Whether the server failed while it had a prompt of the latest try.
        held_at: ``time.monotonic()`` since which its refusals are held against the server.
    """

    attempts: int = 0
    failures: int = 0
    crashes_together: int = 0
    crashes_alone: int = 0
    held_at: float | None = None
    lost: bool = False

    @property
    def suspect(self) -> bool:
        """Suspicion that it is the document that the server fails on."""
        return self.crashes_together >= _CRASHES_TOGETHER


class RetryingExtractor:
    """Extracts documents, and blames a document only for what is not an outage or an overload.

    Before a document is given up the model is asked to extract a probe, a document that cannot be at fault.
    If the probe fails too, the model is unavailable and the document waits. Time spent in queues is no fault
    either: a document without any completion for ``deadline`` seconds races a probe that is sent after it,
    and is given up when the probe is answered first.

    A server that fails takes all documents in flight along. They wait until it answers a probe. A document
    that was there at two failures is a suspect, and is tried alone, right after an answered probe. So the
    document that kills the server is found, and the others are not blamed for it.

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
        self._turns = Turns()
        self._refusals = RefusalLog(metrics, status)
        self._failure: InferenceError | None = None  # the server's, until it answers a probe
        self._returning = asyncio.Lock()

    async def extract(self, document: Document) -> Extraction:
        """Extract one document; waits while the model is unavailable.

        Raises:
            InferenceTimeout: The model leaves this document without an answer.
            InferenceCrash: The model server fails each time it has this document alone.
            InferenceError: The model refuses this document, or fails on it.
        """
        past = _Past()
        for pause in pauses(first=0.2, longest=5.0):
            past.attempts += 1
            try:
                extraction = await self._try(document, past)
            except InferenceError as error:
                if (verdict := await self._verdict(past, error)) is not None:
                    verdict.attempts = past.attempts
                    raise verdict from verdict.__cause__
            else:
                self._refusals.answered()
                self._status.worked(_OPERATION)
                if past.suspect:
                    _log.info("document cleared", attempts=past.attempts)
                return extraction
            self._metrics.retry("model")
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def _try(self, document: Document, past: _Past) -> Extraction:
        """Try a document once the server is well: among others, or alone if it is a suspect."""
        while True:
            await self._until_back()
            if not past.suspect:
                async with self._turns.together():
                    if self._failure is None:
                        return await self._attempt(document, past)
            else:
                async with self._turns.alone():
                    if past.crashes_alone:
                        await asyncio.sleep(random.uniform(0, _SPREAD))  # noqa: S311 - guards nothing
                    if await self._answers_a_probe():
                        return await self._attempt(document, past)
                    self._failure = self._failure or InferenceUnavailable("a probe was not answered")

    async def _until_back(self) -> None:
        """Wait until a server that failed answers a probe; one document asks for all."""
        if self._failure is None:
            return
        async with self._returning:
            for pause in pauses(first=0.2, longest=5.0):
                if self._failure is None:
                    return
                if await self._answers_a_probe():
                    self._failure = None
                    return
                self._status.failed(_OPERATION, f"{self._failure}; a probe was not answered either")
                await asyncio.sleep(pause)

    async def _verdict(self, past: _Past, error: InferenceError) -> InferenceError | None:
        """Judge a failed try: the error to give the document up with, or None to try it again."""
        if isinstance(error, InferenceBusy | InferenceModelChanged):  # others are answered
            return None
        if isinstance(error, InferenceUnavailable):
            return self._server_failed(past, error, suspicious=past.lost)
        past.failures += 1
        if isinstance(error, InferenceUnclear):
            self._refusals.add(past, error)
            if self._refusals.holds(past, past.held_at):
                past.held_at = past.held_at or time.monotonic()
                return None
        if past.failures < next(tries for kind, tries in _TRIES if isinstance(error, kind)):
            return None
        if await self._answers_a_probe():
            return error
        past.failures = 0
        return self._server_failed(past, error, suspicious=True)

    def _server_failed(
        self, past: _Past, error: InferenceError, *, suspicious: bool
    ) -> InferenceCrash | None:
        """Note a failure of the server; the error to give a document up with, if it is what it failed on.

        Args:
            past: Of the document.
            error: The failure.
            suspicious: Whether the server had the document.
        """
        self._failure = error
        self._status.failed(_OPERATION, error)
        if not suspicious:
            return None
        if not past.suspect:
            past.crashes_together += 1
            if past.suspect:
                _log.warning("document suspected", cause=str(error), effect="it is tried alone")
            return None
        past.crashes_alone += 1
        if past.crashes_alone < _CRASHES_ALONE:
            return None
        crash = InferenceCrash(
            f"the model server failed {past.crashes_alone} times in a row on this document alone, and "
            f"answered a probe before each: {error}"
        )
        crash.stage, crash.__cause__ = error.stage, error
        return crash

    async def _attempt(self, document: Document, past: _Past) -> Extraction:
        prompts = count_prompts()
        extracting = asyncio.create_task(self._model.extractor.extract(document))
        try:
            while True:
                before = prompts.completed
                if (await asyncio.wait({extracting}, timeout=self._deadline))[0]:
                    return replace(extracting.result(), model=prompts.model)
                if prompts.completed > before:
                    continue
                if await self._loses_to_a_probe(extracting) and prompts.completed == before:
                    raise _Overtaken(
                        f"the model gave this document no answer for {self._deadline:.0f} s and answered a "
                        "later one; send the document again, or raise PADELLM_DOCUMENT_DEADLINE"
                    )
        finally:
            past.lost = prompts.lost > 0
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
            asked_for = origin.set(Origin("probe"))
            try:
                async with asyncio.timeout(self._deadline):
                    if not await self._model.generator.ready():
                        return False
                    await self._model.extractor.extract(probe)
            except (InferenceError, TimeoutError):
                return False
            finally:
                origin.reset(asked_for)
            return True


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait for its end; its failure is of no interest any more."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()

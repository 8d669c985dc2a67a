"""The engine in this process: tests, evaluation, and serving without Triton."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Self

from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.trace import OnPass
from stream.errors import InferenceStopped
from stream.generation import Completion, Prompt


class InProcessGenerator:
    """A ``Generator`` over the CPU engine, used from one event loop.

    Prompts sent in the same turn of the event loop (``asyncio.gather``, a ``TaskGroup``) reach the engine
    together, so that a shared prefix is prefilled once, in one pass. Completions of one pass come back
    together too, so that the prompts that follow them share the next pass.

    Args:
        decoder: The engine; this object closes it.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._collected: list[tuple[Prompt, Sequence[int] | None, asyncio.Future[Completion]]] = []
        self._settled: deque[tuple[asyncio.Future[Completion], Future[Completion]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        decoder.when_settled(self._wake_loop)

    @classmethod
    def load(cls, folder: Path, options: EngineOptions | None = None) -> Self:
        """Load a model folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        return cls(Decoder.load(folder, options or EngineOptions()))

    async def generate(self, prompt: Prompt, *, forced: Sequence[int] | None = None) -> Completion:
        """Continue one prompt.

        Args:
            prompt: What to continue.
            forced: Forced decoding: the answer to give, as in ``Decoder.submit_many``.

        Raises:
            InferenceRejected: The prompt can never be served.
            InferenceUnavailable: The engine is closed or broke down.
            InferenceError: The forward pass failed.
        """
        self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[Completion] = self._loop.create_future()
        if not self._collected:
            self._loop.call_soon(self._submit_collected)
        self._collected.append((prompt, forced, answer))
        return await answer

    def tracing(self, on_pass: OnPass) -> AbstractContextManager[None]:
        """See ``Decoder.tracing``."""
        return self.decoder.tracing(on_pass)

    async def ready(self) -> bool:
        """Return whether a prompt sent now would be served.

        Raises:
            InferenceStopped: The engine broke down; the message names the cause.
        """
        if (cause := self.decoder.failure) is not None:
            raise InferenceStopped(
                f"the engine in this process broke down ({cause!r}): see the log, and restart the process"
            )
        return not self.decoder.closed

    async def close(self) -> None:
        """Stop the engine; calls in flight are cancelled."""
        await asyncio.to_thread(self.decoder.close)

    def _submit_collected(self) -> None:
        waiting = [each for each in self._collected if not each[-1].cancelled()]
        self._collected.clear()
        prompts, forced, answers = zip(*waiting, strict=True) if waiting else ((), (), ())
        for answer, future in zip(answers, self.decoder.submit_many(prompts, forced=forced), strict=True):
            answer.add_done_callback(partial(_pass_cancellation_on, future))
            future.add_done_callback(partial(self._collect, answer))
        # Refused prompts, and those settled before their callback was set, have been announced already.
        self._deliver()

    def _collect(self, answer: asyncio.Future[Completion], future: Future[Completion]) -> None:
        self._settled.append((answer, future))

    def _wake_loop(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._settled:
            answer, future = self._settled.popleft()
            if answer.done():
                continue
            if future.cancelled():
                answer.cancel()
            elif error := future.exception():
                answer.set_exception(error)
            else:
                answer.set_result(future.result())


def _pass_cancellation_on(future: Future[Completion], answer: asyncio.Future[Completion]) -> None:
    if answer.cancelled():
        future.cancel()

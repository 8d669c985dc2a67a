"""The engine in this process: tests, evaluation, and serving without Triton."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from stream.engine.decoder import Decoder
from stream.generation import Completion, Prompt


class InProcessGenerator:
    """A ``Generator`` over the CPU engine.

    Prompts sent in the same turn of the event loop (``asyncio.gather``, a ``TaskGroup``) reach the engine
    together, so that a shared prefix is read once and their first pass is one.

    Args:
        decoder: The engine; this object closes it.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._collected: list[tuple[Prompt, asyncio.Future[Future[Completion]]]] = []

    @classmethod
    def load(cls, folder: Path, *, threads: int = 2) -> Self:
        """Load a model folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        return cls(Decoder.load(folder, threads=threads))

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Raises:
            InferenceRejected: The prompt can never be served.
            InferenceUnavailable: The engine is closed or broke down.
            InferenceError: The forward pass failed.
        """
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Future[Completion]] = loop.create_future()
        if not self._collected:
            loop.call_soon(self._submit_collected)
        self._collected.append((prompt, accepted))
        try:
            answer = await accepted
        except asyncio.CancelledError:
            if accepted.done() and not accepted.cancelled():
                accepted.result().cancel()
            raise
        return await asyncio.wrap_future(answer)

    async def ready(self) -> bool:
        """Whether a prompt sent now would be served."""
        return not self.decoder.closed

    async def close(self) -> None:
        """Stop the engine; calls in flight are cancelled."""
        await asyncio.to_thread(self.decoder.close)

    def _submit_collected(self) -> None:
        waiting = [(prompt, accepted) for prompt, accepted in self._collected if not accepted.cancelled()]
        self._collected.clear()
        answers = self.decoder.submit_many([prompt for prompt, _ in waiting])
        for (_, accepted), answer in zip(waiting, answers, strict=True):
            accepted.set_result(answer)

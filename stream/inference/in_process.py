"""The engine in this process: tests, evaluation, and serving without Triton."""

import asyncio
from collections.abc import Sequence
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
        self._collected: list[tuple[Prompt, Sequence[int] | None, asyncio.Future[Future[Completion]]]] = []

    @classmethod
    def load(cls, folder: Path, *, threads: int = 2) -> Self:
        """Load a model folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        return cls(Decoder.load(folder, threads=threads))

    async def generate(self, prompt: Prompt, *, forced: Sequence[int] | None = None) -> Completion:
        """Continue one prompt.

        Args:
            prompt: What to continue.
            forced: The answer to give whatever the model says, as ``Decoder.submit_many`` has it.

        Raises:
            InferenceRejected: The prompt can never be served.
            InferenceUnavailable: The engine is closed or broke down.
            InferenceError: The forward pass failed.
        """
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Future[Completion]] = loop.create_future()
        if not self._collected:
            loop.call_soon(self._submit_collected)
        self._collected.append((prompt, forced, accepted))
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
        waiting = [each for each in self._collected if not each[-1].cancelled()]
        self._collected.clear()
        prompts, forced, accepted = zip(*waiting, strict=True) if waiting else ((), (), ())
        for each, answer in zip(accepted, self.decoder.submit_many(prompts, forced=forced), strict=True):
            each.set_result(answer)

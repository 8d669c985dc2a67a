"""A model server that falls ill, refuses or dies as a test says: a script over real gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from tests.inference.scripted_triton import Refusal, ScriptedTriton, scripted_triton
from tests.integration.scripted_worker import ScriptedGenerator

EXECUTOR_FAILED = (
    "Executor failed process requestId 3 due to the following error: Encountered an error in forwardAsync "
    "function: [TensorRT-LLM][ERROR] CUDA runtime error in cudaMemcpyAsync: unspecified launch failure"
)


class Illness:
    """Script of a server that answers from the prompts' texts as long as it is well.

    Attributes:
        words: INTERNAL with these words is its answer to every prompt; None while it is well.
        deaths: How often it died of a text with ``KILL``.
        blind: Whether it finds nothing in any text.
    """

    def __init__(self, model: Path) -> None:
        self._generator = ScriptedGenerator(model)
        self.words: str | None = None
        self.deaths = 0
        self.blind = False
        self._nothing = PromptTemplate.load(model).count_answer_ids(0)
        self.triton: ScriptedTriton
        self._reviving: asyncio.Task[None] | None = None

    async def answer(self, prompt: Prompt) -> Completion:
        """Answer, fail or die."""
        if self.words is not None:
            raise Refusal(grpc.StatusCode.INTERNAL, self.words)
        if len(prompt.ids) == 1:  # the client's question of whether it is ready
            return Completion((), ())
        if "KILL" in self._generator._text(prompt):
            if self._reviving is None or self._reviving.done():
                self.deaths += 1
                self._reviving = asyncio.create_task(self.triton.die_and_return(0.5))
            await asyncio.Event().wait()
        if self.blind:
            return Completion(self._nothing, (-0.01,) * len(self._nothing))
        return await self._generator.generate(prompt)


@asynccontextmanager
async def ill_server(model: Path) -> AsyncIterator[tuple[Illness, ScriptedTriton]]:
    """One that is well at first."""
    illness = Illness(model)
    async with scripted_triton(illness.answer) as triton:
        illness.triton = triton
        yield illness, triton

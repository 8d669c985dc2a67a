"""The pretrained model behind a real Triton."""

import asyncio
import os
from pathlib import Path

import pytest

from stream.engine.decoder import Decoder, EngineOptions
from stream.generation import Completion, Prompt
from stream.inference.triton import TritonGenerator
from stream.local.reaper import Reaper
from stream.local.triton import why_unavailable
from tests.integration.triton_fixture import RunningTriton
from tests.sample_prompts import DOCUMENTS_VARIABLE, pretrained_folder, sample_prompts, sample_texts

pytestmark = [pytest.mark.integration, pytest.mark.skipif(why_unavailable() is not None, reason="no Triton")]

_AT_ONCE = 16  # all of them would take longer than a request may on a busy machine
_DOCUMENTS = int(os.environ.get(DOCUMENTS_VARIABLE, "0"))


@pytest.mark.skipif(not _DOCUMENTS, reason=f"{DOCUMENTS_VARIABLE}=200 runs it; the tiny model shows the same")
def test_triton_serves_the_pretrained_model_token_for_token(tmp_path: Path) -> None:
    """Prompts, several at once, get the tokens of the engine in this process, and its log-probabilities."""
    folder = pretrained_folder()
    prompts = sample_prompts(folder, sample_texts()[:_DOCUMENTS])
    decoder = Decoder.load(folder, EngineOptions())
    try:
        here = [future.result(600) for future in decoder.submit_many(prompts)]
    finally:
        decoder.close()
    with Reaper() as reaper:
        server = RunningTriton(tmp_path / "triton", folder, reaper)
        try:
            server.start()
            there = asyncio.run(_ask(server.url, prompts))
        finally:
            server.stop()
    assert [each.ids for each in there] == [each.ids for each in here]
    for theirs, ours in zip(there, here, strict=True):
        assert theirs.log_probs == pytest.approx(ours.log_probs, abs=1e-3)


async def _ask(url: str, prompts: list[Prompt]) -> list[Completion]:
    generator = TritonGenerator(url)
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(prompt: Prompt) -> Completion:
        async with places:
            return await generator.generate(prompt)

    try:
        return list(await asyncio.gather(*map(ask, prompts)))
    finally:
        await generator.close()

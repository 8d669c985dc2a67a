"""The engine behind the generator seam."""

import asyncio

import pytest

from stream.errors import InferenceRejected, InferenceStopped, InferenceUnavailable
from stream.generation import Prompt
from stream.inference.in_process import InProcessGenerator
from tests.tiny_model import write_tiny_checkpoint

TEXT = tuple(range(40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
async def generator(folder, tmp_path_factory, monkeypatch):
    """Over it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    generator = InProcessGenerator.load(folder)
    yield generator
    await generator.close()


async def at_rest(generator):
    """Wait until nothing is in flight."""
    async with asyncio.timeout(10):
        while generator.decoder.statistics().in_flight:  # noqa: ASYNC110 - the engine has no event of ours
            await asyncio.sleep(0.005)


async def test_in_process_gathered_prompts_share_one_pass(generator):
    """What one ``gather`` sends reaches the engine together."""
    await asyncio.gather(*(generator.generate(Prompt((*TEXT, label), 1, -1)) for label in range(8)))
    statistics = generator.decoder.statistics()
    assert (statistics.passes, statistics.tokens_computed) == (1, len(TEXT) + 8)


async def test_in_process_cancelling_the_task_cancels_the_generation(generator):
    """The engine drops a prompt nobody waits for, whether it was handed over already or not."""
    for pauses in (0, 1, 2, 3):
        task = asyncio.create_task(generator.generate(Prompt(TEXT, 1500, -1)))
        for _ in range(pauses):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await at_rest(generator)
    assert generator.decoder.statistics().tokens_produced == 0


async def test_in_process_rejects_what_the_engine_refuses(generator):
    """A prompt that is too long raises where it was awaited."""
    with pytest.raises(InferenceRejected, match="2048 positions"):
        await generator.generate(Prompt((1,) * 4000, 1, -1))


async def test_in_process_engine_that_broke_down_is_gone_for_good(generator, monkeypatch):
    """An engine whose thread died of a fault is not just not ready: waiting for it would be in vain."""
    monkeypatch.setattr(generator.decoder, "_next", lambda: 1 / 0)
    with pytest.raises(InferenceUnavailable, match="ZeroDivisionError"):
        await generator.generate(Prompt(TEXT, 8, -1))
    with pytest.raises(InferenceStopped, match="restart the process"):
        await generator.ready()


async def test_in_process_is_ready_until_closed(generator):
    """Ready tells whether a prompt would be served."""
    assert await generator.ready()
    await generator.close()
    assert not await generator.ready()
    with pytest.raises(InferenceUnavailable):
        await generator.generate(Prompt((1,), 1, -1))

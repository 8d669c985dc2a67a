"""What a Triton server that fails, fills up or dies does to its client, and what it leaves behind."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stream.errors import InferenceBusy, InferenceUnavailable
from stream.generation import Prompt
from stream.inference.breaker import BreakerState
from stream.inference.triton import TritonGenerator
from stream.local.reaper import Reaper
from tests.integration.triton_fixture import MODELS, RunningTriton

pytestmark = pytest.mark.integration

_PROMPT = Prompt(tuple(range(40, 70)), 6, 2**31 - 1)
_QUEUE = 4


@pytest.fixture
def narrow_triton(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[RunningTriton]:
    """A server whose engine takes four requests."""
    model = tmp_path / "models" / "tensorrt_llm"
    model.mkdir(parents=True)
    (model / "1").symlink_to(MODELS / "tensorrt_llm" / "1")
    text = (MODELS / "tensorrt_llm" / "config.pbtxt").read_text()
    assert text.count('"4096"') == 1
    (model / "config.pbtxt").write_text(text.replace('"4096"', f'"{_QUEUE}"'))
    with Reaper() as reaper:
        server = RunningTriton(tmp_path / "triton", tiny_checkpoint, reaper, models=model.parent)
        try:
            server.start()
            yield server
        finally:
            server.stop()


async def _recovered(generator: TritonGenerator) -> float:
    """Seconds until the server answers again."""
    started = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            try:
                await generator.generate(_PROMPT)
            except InferenceUnavailable:
                continue
            return time.monotonic() - started


async def _soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


def _stub(server: RunningTriton) -> psutil.Process:
    return next(each for each in psutil.Process(server.pid).children() if "stub" in each.name())


def _regions(server: RunningTriton) -> list[Path]:
    return list(Path("/dev/shm").glob(f"padellm_{server.service.grpc_port}_*"))


async def test_triton_client_outlasts_a_restart(private_triton: RunningTriton) -> None:
    """Calls during an outage end in InferenceUnavailable; once the server is back, it is used within 3 s."""
    states: list[BreakerState] = []
    generator = TritonGenerator(private_triton.url, breaker_pause=1.0, on_breaker_change=states.append)
    before = await generator.generate(_PROMPT)
    await asyncio.to_thread(private_triton.stop)
    started = time.monotonic()
    outcomes = await asyncio.gather(*(generator.generate(_PROMPT) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(outcome, InferenceUnavailable) for outcome in outcomes)
    assert time.monotonic() - started < 5
    assert generator.breaker_state is BreakerState.OPEN
    assert not await generator.ready()

    await asyncio.to_thread(private_triton.start)
    assert await _recovered(generator) < 3
    assert (await generator.generate(_PROMPT)).ids == before.ids
    assert await generator.ready()
    assert states[0] is BreakerState.OPEN
    assert states[-2:] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]
    await generator.close()


async def test_triton_client_waits_out_a_short_restart(private_triton: RunningTriton) -> None:
    """Calls that wait for the breaker's probe are served when the server comes back before it."""
    generator = TritonGenerator(private_triton.url, breaker_failures=1, breaker_pause=10.0)
    await generator.generate(_PROMPT)
    await asyncio.to_thread(private_triton.kill)
    calls = [asyncio.create_task(generator.generate(_PROMPT)) for _ in range(20)]
    await asyncio.to_thread(private_triton.start)
    assert len({answer.ids for answer in await asyncio.gather(*calls)}) == 1
    await generator.close()


async def test_triton_full_queue_is_tried_again(narrow_triton: RunningTriton) -> None:
    """A queue of four serves a hundred calls: the refused ones come again, and the breaker stays closed."""
    refusals = 0
    generator = TritonGenerator(narrow_triton.url)
    infer = generator._infer

    async def counted(*arguments: object, **options: object) -> object:
        nonlocal refusals
        try:
            return await infer(*arguments, **options)
        except InferenceBusy:
            refusals += 1
            raise

    generator._infer = counted
    answers = await asyncio.gather(*(generator.generate(_PROMPT) for _ in range(100)))
    assert len({answer.ids for answer in answers}) == 1
    assert refusals > 0
    assert generator.breaker_state is BreakerState.CLOSED
    await generator.close()


async def test_triton_goes_down_with_its_engine(private_triton: RunningTriton) -> None:
    """When the process that holds the engine is killed, the server ends at once, to be started anew."""
    generator = TritonGenerator(private_triton.url)
    call = asyncio.create_task(generator.generate(Prompt(_PROMPT.ids, 60_000, 2**31 - 1)))
    await asyncio.sleep(0.3)
    server = psutil.Process(private_triton.pid)
    _stub(private_triton).kill()
    await _soon(lambda: server.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(InferenceUnavailable):
        await asyncio.wait_for(call, 10)
    await asyncio.to_thread(private_triton.kill)
    await asyncio.to_thread(private_triton.start)
    assert await _recovered(generator) < 5
    await generator.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_triton_leaves_nothing_behind(private_triton: RunningTriton, how: str) -> None:
    """However it ends, no process of it lives on and no shared memory keeps its name."""
    family = [
        psutil.Process(private_triton.pid),
        *psutil.Process(private_triton.pid).children(recursive=True),
    ]
    assert len(family) >= 2
    await asyncio.to_thread(getattr(private_triton, how))
    await _soon(lambda: not any(each.is_running() for each in family))
    assert _regions(private_triton) == []

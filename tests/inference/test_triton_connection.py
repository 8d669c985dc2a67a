"""What a slow or broken connection to a healthy server does to the client: nothing to notice."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from stream.errors import InferenceUnavailable
from stream.generation import Prompt
from stream.inference import grpc_generator as client
from stream.inference.breaker import BreakerState
from stream.inference.triton import TritonGenerator
from tests.inference.relayed_triton import ANSWER, RelayedTriton

_PROMPT = Prompt((1, 2, 3), 4, 5)


@pytest.fixture
async def triton() -> AsyncIterator[RelayedTriton]:
    """A healthy server."""
    async with RelayedTriton.running() as triton:
        yield triton


@pytest.fixture
def states() -> list[BreakerState]:
    """What the client's circuit breaker told of."""
    return []


@pytest.fixture
async def generator(triton: RelayedTriton, states: list[BreakerState]) -> AsyncIterator[TritonGenerator]:
    """The client under test."""
    generator = TritonGenerator(f"127.0.0.1:{triton.port}", on_breaker_change=states.append)
    yield generator
    await generator.close()


async def test_triton_client_waits_for_a_slow_handshake(
    triton: RelayedTriton, generator: TritonGenerator, states: list[BreakerState]
) -> None:
    """A server that takes more than a second to shake hands is waited for; the circuit stays closed."""
    triton.handshake = 1.2
    answers = await asyncio.gather(*(generator.generate(_PROMPT) for _ in range(50)))
    assert {answer.ids for answer in answers} == {ANSWER}
    assert states == []


async def test_triton_client_survives_a_broken_connection(
    triton: RelayedTriton, generator: TritonGenerator, states: list[BreakerState]
) -> None:
    """A connection that breaks under many calls costs each a second try, and does not open the circuit."""
    triton.answer_after = 0.5
    calls = [asyncio.create_task(generator.generate(_PROMPT)) for _ in range(50)]
    await triton.has(len(calls))
    triton.cut()
    assert {answer.ids for answer in await asyncio.gather(*calls)} == {ANSWER}
    assert triton.calls == 2 * len(calls)
    assert states == []


async def test_triton_client_takes_a_slow_server_for_slow(
    triton: RelayedTriton, states: list[BreakerState]
) -> None:
    """Calls that run into their deadline while the server answers others do not open the circuit."""
    generator = TritonGenerator(
        f"127.0.0.1:{triton.port}", call_deadline=0.5, on_breaker_change=states.append
    )
    triton.answer_after = 0.7
    late = [asyncio.create_task(generator.generate(_PROMPT)) for _ in range(20)]
    await triton.has(len(late))
    triton.answer_after = 0.0
    assert (await generator.generate(_PROMPT)).ids == ANSWER
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    await generator.close()
    assert {type(outcome).__name__ for outcome in outcomes} == {"InferenceTimeout"}
    assert states == []


async def test_triton_client_gives_a_silent_connection_up(
    triton: RelayedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was dropped without a word fails its calls long before their deadline."""
    faster = {
        "grpc.keepalive_time_ms": 1000,
        "grpc.keepalive_timeout_ms": 500,
        "grpc.http2.ping_timeout_ms": 500,
    }
    options = dict(client._CHANNEL_OPTIONS) | faster
    monkeypatch.setattr(client, "_CHANNEL_OPTIONS", tuple(options.items()))
    generator = TritonGenerator(f"127.0.0.1:{triton.port}", breaker_failures=1)
    assert (await generator.generate(_PROMPT)).ids == ANSWER
    await asyncio.sleep(0.3)  # until gRPC's own ping of a new connection is answered
    triton.silent = True
    began = time.monotonic()
    infer = generator._infer(_PROMPT, 30.0)
    with pytest.raises(InferenceUnavailable, match="ping"):
        await infer
    assert time.monotonic() - began < 10
    await generator.close()


def test_triton_client_pings_within_tritons_limits() -> None:
    """A call that takes its whole deadline meets three pings; Triton ends the connection at the fourth."""
    options = dict(client._CHANNEL_OPTIONS)
    assert 4 * options["grpc.keepalive_time_ms"] > 30_000
    assert options["grpc.keepalive_permit_without_calls"] == 0

"""The client of several model servers: over scripts in this process, and over gRPC."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import InferenceOutage, InferenceTimeout, InferenceUnclear
from stream.generation import Completion, Prompt, asked_for
from stream.inference import addresses, servers
from stream.inference.addresses import Address
from stream.inference.breaker import BreakerState
from stream.inference.servers import ModelServers
from stream.inference.triton import TritonGenerator
from tests.inference.scripted_triton import Refusal, ScriptedTriton, scripted_triton

PROMPT = Prompt((1, 2), 4, 5)
FAULTS = {
    "lost": Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    "sick": Refusal(grpc.StatusCode.INTERNAL, "Executor failed process requestId 3: CUDA error"),
    "busy": Refusal(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"),
    "unclear": Refusal(grpc.StatusCode.INTERNAL, "something is wrong"),
}


class Model:
    """Script of one server: answers, or fails as ``fault`` says; answers to prompts bear its mark."""

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.fault: str | None = None
        self.release: asyncio.Event | None = None
        self.asked = 0

    async def answer(self, prompt: Prompt) -> Completion:
        """Answer, once ``release`` is set where there is one."""
        self.asked += len(prompt.ids) > 1
        if self.release is not None and len(prompt.ids) > 1:
            await self.release.wait()
        if self.fault is not None:
            raise FAULTS[self.fault]
        return Completion((self.mark,), (-0.5,))


class Farm:
    """Some scripted servers over gRPC, and the client of them all."""

    def __init__(self, models: list[Model], tritons: list[ScriptedTriton]) -> None:
        self.models, self.tritons = models, tritons
        self.states: list[BreakerState] = []
        self.served: dict[str, bool] = {}
        self.tries: Counter[tuple[str, str]] = Counter()
        self.client = ModelServers(
            ",".join(triton.url for triton in tritons),
            lambda address, on_change: TritonGenerator(
                address.url, on_breaker_change=on_change, breaker_pause=0.1
            ),
            on_breaker_change=self.states.append,
            watch=self,
        )

    def server_serves(self, server: str, *, up: bool) -> None:
        """As the client says."""
        self.served[server] = up

    def server_tried(self, server: str, outcome: str) -> None:
        """Count it."""
        self.tries[server, outcome] += 1

    def server_gone(self, server: str) -> None:
        """Forget it."""
        del self.served[server]

    async def ask(self, name: str = "document", prompts: int = 1) -> list[int]:
        """Marks of the servers that answered so many prompts of one origin."""
        with asked_for(name):
            completions = [await self.client.generate(PROMPT) for _ in range(prompts)]
        return [completion.ids[0] for completion in completions]


@pytest.fixture
async def farm():
    """Two servers."""
    models = [Model(7), Model(8)]
    async with AsyncExitStack() as stack:
        tritons = [await stack.enter_async_context(scripted_triton(model.answer)) for model in models]
        farm = Farm(models, tritons)
        yield farm
        await farm.client.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)


async def test_servers_keep_a_document_together_and_share_documents_out(farm):
    """All prompts of a document go to one server, and the documents to both."""
    answers = await asyncio.gather(*(farm.ask(f"doc-{number}", prompts=5) for number in range(20)))
    assert all(len(set(marks)) == 1 for marks in answers)
    assert Counter(marks[0] for marks in answers) == {7: 10, 8: 10}


@pytest.mark.parametrize("fault", FAULTS)
async def test_servers_put_what_one_fails_on_to_the_other(farm, fault):
    """Whatever one server fails with, every prompt is answered by the other, at once."""
    farm.models[0].fault = fault
    began = time.monotonic()
    answers = await asyncio.gather(*(farm.ask(f"doc-{number}", prompts=3) for number in range(30)))
    assert {mark for marks in answers for mark in marks} == {8}
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("fault", ["lost", "sick", "unclear"])
async def test_servers_eject_what_fails_and_let_it_return_after_a_probe(farm, fault):
    """A failing server gets no prompts, is probed with one token, and serves again once that is answered."""
    bad, url = farm.models[0], farm.tritons[0].url
    bad.fault = fault
    for number in range(12):
        await farm.ask(f"doc-{number}")
    assert farm.served == {url: False, farm.tritons[1].url: True}
    asked = bad.asked
    await asyncio.sleep(0.3)
    assert {marks[0] for marks in await asyncio.gather(*(farm.ask(f"x-{n}") for n in range(10)))} == {8}
    assert bad.asked == asked
    bad.fault = None
    await until(lambda: farm.served[url])
    assert 7 in {(await farm.ask(f"y-{number}"))[0] for number in range(30)}
    assert farm.states == []  # one server was in service all the time


async def test_servers_do_not_eject_for_a_full_queue_or_a_refused_document(farm):
    """Overload, and a document that both servers refuse, leave both in service."""
    farm.models[0].fault = "busy"
    for number in range(12):
        await farm.ask(f"doc-{number}")
    for model in farm.models:
        model.fault = "unclear"
    for number in range(12):
        with pytest.raises(InferenceUnclear):
            await farm.ask(f"bad-{number}")
    assert set(farm.served.values()) == {True}


async def test_servers_all_out_are_one_outage(farm, monkeypatch):
    """While no server answers, calls fail as an outage; the first that returns ends it."""
    monkeypatch.setattr(servers, "_OUTAGE_WAIT", 0.3)
    for triton in farm.tritons:
        await triton.die()
    errors = [(await asyncio.gather(farm.ask(), return_exceptions=True))[0] for _ in range(12)]
    assert isinstance(errors[-1], InferenceOutage)
    assert farm.states[0] is BreakerState.OPEN
    assert not await farm.client.ready()
    await farm.tritons[1].start()
    await until(lambda: farm.states[-1] is BreakerState.CLOSED)
    assert await farm.ask() == [8]
    assert await farm.client.ready()


async def test_servers_move_a_document_whose_server_dies(farm):
    """A document in flight on a server that dies goes on at the other; nothing fails."""
    farm.models[0].release = asyncio.Event()
    farm.models[1].release = asyncio.Event()
    asking = [asyncio.create_task(farm.ask(f"doc-{number}", prompts=3)) for number in range(10)]
    await until(lambda: sum(model.asked for model in farm.models) == 10)
    farm.models[1].release.set()
    await farm.tritons[0].die()
    assert {mark for marks in await asyncio.gather(*asking) for mark in marks} == {8}


async def test_servers_try_a_slow_document_elsewhere(farm):
    """A prompt that runs into its deadline fails, and the document's next one goes to the other server."""

    async def never(_prompt, *, waits=True):
        raise InferenceTimeout("slow")

    with asked_for("document"):
        mark = (await farm.client.generate(PROMPT)).ids[0]
        slow = next(
            server
            for member, server in farm.client._servers.items()
            if member.address == farm.tritons[mark - 7].url
        )
        slow.attempt = never
        with pytest.raises(InferenceTimeout):
            await farm.client.generate(PROMPT)
        assert (await farm.client.generate(PROMPT)).ids[0] != mark


async def test_servers_count_each_try_by_its_outcome(farm):
    """Tries are counted by server and outcome, and one that was cancelled is none."""
    farm.models[0].fault = "busy"
    await farm.ask("one", prompts=3)
    farm.models[1].release = asyncio.Event()
    asking = asyncio.create_task(farm.ask("two"))
    await until(lambda: farm.models[1].asked == 4)
    asking.cancel()
    await asyncio.wait({asking})
    first, second = (triton.url for triton in farm.tritons)
    assert farm.tries[second, "completed"] == 3
    assert set(farm.tries) == {(first, "busy"), (second, "completed")}


class FakeServer:
    """A server that fails as its plan says, and whose breaker opens at each failure."""

    trouble = None

    def __init__(self, on_change, plan):
        self.on_change, self.plan = on_change, plan

    async def attempt(self, _prompt, *, waits):
        """Fail as planned, then answer."""
        assert not waits
        await asyncio.sleep(0)
        fault = self.plan.pop() if self.plan else None
        if fault is not None:
            if fault.opens:
                self.on_change(BreakerState.OPEN)
            raise fault.error("planned")
        return Completion((7,), (-0.5,))

    async def until_back(self):
        """Close the breaker soon."""
        await asyncio.sleep(0)
        self.on_change(BreakerState.CLOSED)

    def blame(self, error):
        """Nothing to note."""

    async def close(self):
        """Nothing to release."""


class Fault:
    """A failure, and whether the breaker opens by it."""

    def __init__(self, error, *, opens):
        self.error, self.opens = error, opens

    def __repr__(self):
        return f"{self.error.__name__}{'!' * self.opens}"


PLANS = st.lists(
    st.sampled_from(
        [
            None,
            Fault(servers.InferenceBusy, opens=False),
            Fault(servers.InferenceUnavailable, opens=False),
            Fault(servers.InferenceUnavailable, opens=True),
            Fault(servers.InferenceOutage, opens=True),
        ]
    ),
    max_size=6,
)


@given(plans=st.lists(PLANS, min_size=1, max_size=3), prompts=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_servers_answer_every_prompt_whatever_order_servers_fail_and_return_in(plans, prompts):
    """Failures that pass fail no prompt, leave nothing in flight, and all servers in service."""

    async def run():
        connected = iter(plans)
        client = ModelServers(
            ",".join(f"host-{number}:8001" for number in range(len(plans))),
            lambda _address, on_change: FakeServer(on_change, list(next(connected))),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(servers, "FIRST_PAUSE", 0.001)
            patch.setattr(servers, "LONGEST_PAUSE", 0.001)
            await asyncio.gather(*(client.generate(PROMPT) for _ in range(prompts)))
        await asyncio.sleep(0.001)
        assert all(member.in_flight == 0 and member.in_service for member in client._roster)
        await client.close()

    asyncio.run(run())


async def test_servers_follow_a_name(monkeypatch):
    """Servers are those of the name at each time; a look-up that fails changes nothing."""
    found: list[Address] | OSError = OSError("no such name")

    async def resolve(_given):
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(servers, "resolve", resolve)
    monkeypatch.setattr(servers, "_RESOLVED_EVERY", 0.02)
    one, two = Model(7), Model(8)
    async with scripted_triton(one.answer) as first, scripted_triton(two.answer) as second:
        client = ModelServers(
            "dns:///models:8001", lambda address, on_change: TritonGenerator(address.url, host=address.host)
        )

        async def marks() -> set[int]:
            return {(await client.generate(PROMPT)).ids[0] for _ in range(10)}

        await asyncio.sleep(0.05)
        assert not await client.ready()
        assert "cannot be resolved" in client.trouble
        waiting = asyncio.create_task(marks())
        await asyncio.sleep(0.05)
        found = [Address(first.url, "models")]
        assert await waiting == {7}
        found = [Address(first.url, "models"), Address(second.url, "models")]
        await asyncio.sleep(0.1)
        assert await marks() == {7, 8}
        found = OSError("no such name")
        await asyncio.sleep(0.1)
        assert await marks() == {7, 8}
        found = [Address(second.url, "models")]
        await asyncio.sleep(0.1)
        assert await marks() == {8}
        await client.close()


async def test_addresses_of_a_name_are_all_that_it_resolves_to():
    """A plain address is itself; a name is every address it has, with the name for its certificate."""
    assert await addresses.resolve("a:1, b:2,a:1") == [Address("a:1"), Address("b:2")]
    found = await addresses.resolve("dns:///localhost:8001")
    assert Address("127.0.0.1:8001", "localhost") in found
    for nowhere in ("no-such-host.invalid", "x" * 70):
        with pytest.raises(OSError, match=r"."):
            await addresses.resolve(f"dns:///{nowhere}:8001")

"""A generator over several Triton servers that serve one model."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import structlog

from stream.backoff import pauses
from stream.errors import (
    ConfigurationError,
    InferenceBusy,
    InferenceError,
    InferenceOutage,
    InferenceTimeout,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.generation import Completion, Generator, Origin, Prompt, origin
from stream.inference.addresses import Address, changes, resolve, split
from stream.inference.breaker import BreakerState
from stream.inference.grpc_generator import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    GrpcGenerator,
    Tries,
    tls_of_servers,
)
from stream.inference.roster import Member, Roster
from stream.inference.triton import TritonGenerator
from stream.settings import Inference, Settings

_log = structlog.get_logger(__name__)
_RESOLVED_EVERY = 5.0
_OUTAGE_WAIT = 5.0  # as long as one server's breaker pauses, and its probe takes

OnState = Callable[[BreakerState], None]


class Server(Protocol):
    """Client of one server, such as a ``GrpcGenerator``."""

    @property
    def trouble(self) -> str | None:
        """Cause for which the server cannot be reached, where it is known."""

    async def attempt(self, prompt: Prompt, *, waits: bool = True) -> Completion:
        """Try once to continue a prompt.

        Raises:
            InferenceError: As ``Generator.generate``; InferenceOutage at once where it may not wait.
        """

    async def until_back(self) -> None:
        """Return when an ejected server has answered a prompt of one token."""

    def blame(self, error: InferenceUnclear) -> None:
        """Hold a refusal against the server."""

    async def ready(self) -> bool:
        """Return whether a prompt sent now would be served."""

    async def close(self) -> None:
        """Release the connection."""


class ServerWatch(Protocol):
    """Is told what happens to the servers, by their addresses."""

    def server_serves(self, server: str, *, up: bool) -> None:
        """Note that a server is in service, or is ejected."""

    def server_tried(self, server: str, outcome: str) -> None:
        """Note the outcome of a try: completed, failed, busy or refused."""

    def server_gone(self, server: str) -> None:
        """Note that an address is no longer one of the servers'."""


@dataclass(slots=True)
class _Course:
    """Course of one prompt so far.

    Attributes:
        tries: Bounds its tries.
        failed: Servers that failed it since the last pause.
        refused: Server whose refusal was unclear, and the refusal.
    """

    tries: Tries
    failed: set[Member] = field(default_factory=set)
    refused: tuple[Member, InferenceUnclear] | None = None


class ModelServers:
    """A ``stream.generation.Generator`` over several servers; created and used in one event loop.

    The prompts of one origin stay on one server, which has their shared prefixes in its cache, until that
    server is ejected, overloaded or too slow. Each other prompt goes where the least is in flight.

    A server is ejected when its circuit breaker opens, and returns after a prompt of one token. What failed
    with a server is tried at another one at once. A refusal that does not say whose fault it is is put to
    another server, too: if that one answers, the first is at fault. While no server is in service, it is one
    outage.

    Args:
        given: The setting: addresses, or names that stand for several.
        connect: Makes the client of a server, which reports the states of its circuit breaker.
        on_breaker_change: Called with the state of all together: closed while a server is in service.
        watch: Is told what happens to each.
        call_deadline: Seconds after which a prompt is not tried again.
    """

    def __init__(
        self,
        given: str,
        connect: Callable[[Address, OnState], Server],
        *,
        on_breaker_change: OnState | None = None,
        watch: ServerWatch | None = None,
        call_deadline: float = 30.0,
    ) -> None:
        self._given = given
        self._connect = connect
        self._on_change = on_breaker_change
        self._watch = watch
        self._deadline = call_deadline
        self._roster = Roster()
        self._servers: dict[Member, Server] = {}
        self._states: dict[Member, BreakerState] = {}
        self._together = BreakerState.CLOSED
        self._chosen: WeakKeyDictionary[Origin, Member] = WeakKeyDictionary()
        self._serving = asyncio.Event()
        self._out_since = time.monotonic()
        self._unresolved: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._returns: dict[Member, asyncio.Task[None]] = {}
        if changes(given):
            self._start(self._follow())
        else:
            self._take([Address(one) for one in split(given)])

    @property
    def trouble(self) -> str | None:
        """Cause for which servers cannot be reached, where it is known."""
        return self._unresolved or next(
            (server.trouble for server in self._servers.values() if server.trouble), None
        )

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Raises:
            InferenceOutage: No server is in service.
            InferenceError: As ``GrpcGenerator.generate``, with the tries at all servers counted together.
        """
        course = _Course(Tries(self._deadline))
        for pause in pauses(first=FIRST_PAUSE, longest=LONGEST_PAUSE):
            while True:
                member = await self._member(course.failed)
                try:
                    completion = await self._attempt(member, prompt)
                except InferenceOutage:  # it was ejected while the prompt waited for a slot
                    continue
                except InferenceError as error:
                    if self._ends(course, member, error):
                        raise
                else:
                    self._blame(course, member)
                    return completion
                course.failed.add(member)
                if not self._others(course.failed):
                    break
            course.failed.clear()
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def ready(self) -> bool:
        """Return whether a server would serve a prompt now; the first that says so decides."""
        asking = {asyncio.create_task(server.ready()) for server in self._servers.values()}
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                if any(task.result() for task in done):
                    return True
            return False
        finally:
            for task in asking:
                task.cancel()

    async def close(self) -> None:
        """Close all connections; calls in flight are cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    async def _member(self, failed: set[Member]) -> Member:
        """The server of the present task's origin, or one that is chosen now.

        Raises:
            InferenceOutage: None is in service for some seconds.
        """
        asked_for = origin.get()
        kept = None if asked_for is None else self._chosen.get(asked_for)
        if kept is not None and kept.in_service and kept in self._roster and kept not in failed:
            return kept
        while (member := self._roster.choose(avoid=failed)) is None:
            self._serving.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_OUTAGE_WAIT):
                    await self._serving.wait()
                    continue
            raise self._outage()
        if asked_for is not None:
            self._chosen[asked_for] = member
        return member

    async def _attempt(self, member: Member, prompt: Prompt) -> Completion:
        member.in_flight += 1
        try:
            completion = await self._servers[member].attempt(prompt, waits=False)
        except InferenceError as error:
            self._tried(member, _outcome(error))
            raise
        else:
            self._tried(member, "completed")
            return completion
        finally:
            member.in_flight -= 1
            if member not in self._roster and not member.in_flight:
                self._start(self._servers.pop(member).close())

    def _tried(self, member: Member, outcome: str) -> None:
        if self._watch is not None and member in self._roster:
            self._watch.server_tried(member.address, outcome)

    def _others(self, members: set[Member]) -> list[Member]:
        """The servers in service beside these."""
        return [member for member in self._roster if member.in_service and member not in members]

    def _ends(self, course: "_Course", member: Member, error: InferenceError) -> bool:
        """Judge a failed try: whether no other server is to be asked."""
        if isinstance(error, InferenceUnavailable):
            return course.tries.end_with(error)
        if isinstance(error, InferenceUnclear) and course.refused is None:
            course.refused = member, error
            return not self._others(course.failed | {member})
        asked_for = origin.get()
        if isinstance(error, InferenceTimeout) and asked_for is not None:
            self._chosen.pop(asked_for, None)  # its next prompt chooses anew
        return True

    def _blame(self, course: "_Course", answered: Member) -> None:
        """Hold a refusal against the server that refused what another one has answered."""
        if course.refused is None:
            return
        member, error = course.refused
        if member is not answered and (server := self._servers.get(member)) is not None:
            server.blame(error)

    def _outage(self) -> InferenceOutage:
        seconds = time.monotonic() - self._out_since
        cause = f" ({self.trouble})" if self.trouble else ""
        return InferenceOutage(
            f"no model server of {self._given} has answered for {seconds:.1f} s{cause}; all are probed again"
        )

    def _changed(self, member: Member, state: BreakerState) -> None:
        """Eject or restore a server as its breaker says."""
        if member not in self._roster:
            return
        self._states[member] = state
        if state is BreakerState.CLOSED:
            self._roster.restore(member)
            self._serving.set()
        elif member.in_service:
            self._roster.eject(member)
            self._returns[member] = self._start(self._servers[member].until_back())
        if self._watch is not None:
            self._watch.server_serves(member.address, up=member.in_service)
        self._report()

    def _report(self) -> None:
        """Report the state of all servers together."""
        states = [self._states[member] for member in self._roster]
        order = (BreakerState.CLOSED, BreakerState.HALF_OPEN)
        together = next((state for state in order if state in states), BreakerState.OPEN)
        if together is self._together:
            return
        if self._together is BreakerState.CLOSED:
            self._out_since = time.monotonic()
        self._together = together
        if self._on_change is not None:
            self._on_change(together)

    async def _follow(self) -> None:
        """Keep the servers those that the names stand for."""
        while True:
            try:
                self._take(await resolve(self._given))
            except ConfigurationError as error:  # a file for TLS was replaced by one that is wrong
                _log.warning("model server not added", cause=str(error), effect="it is tried again")
            except OSError as error:
                trouble = f"{self._given} cannot be resolved: {error.strerror or error}"
                if self._unresolved is None:
                    _log.warning("names not resolved", cause=trouble, effect="the servers known so far stay")
                self._unresolved = trouble
            else:
                self._unresolved = None
            await asyncio.sleep(_RESOLVED_EVERY)

    def _take(self, found: list[Address]) -> None:
        """Let these be the servers: connect to new ones, and let go of the others."""
        known = {member.address: member for member in self._roster}
        wanted = {address.url for address in found}
        for address in found:
            if address.url not in known:
                self._add(address)
        for url in known.keys() - wanted:
            self._remove(known[url])
        self._serving.set()
        self._report()

    def _add(self, address: Address) -> None:
        member = self._roster.add(address.url)
        try:
            self._servers[member] = self._connect(address, partial(self._changed, member))
        except ConfigurationError:
            self._roster.remove(address.url)
            raise
        self._states[member] = BreakerState.CLOSED
        _log.info("model server added", server=address.url)
        if self._watch is not None:
            self._watch.server_serves(address.url, up=True)

    def _remove(self, member: Member) -> None:
        """Send nothing more there; what is in flight may end."""
        self._roster.remove(member.address)
        del self._states[member]
        if returning := self._returns.pop(member, None):
            returning.cancel()
        _log.info("model server removed", server=member.address, in_flight=member.in_flight)
        if self._watch is not None:
            self._watch.server_gone(member.address)
        if not member.in_flight:
            self._start(self._servers.pop(member).close())

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _outcome(error: InferenceError) -> str:
    if isinstance(error, InferenceBusy):
        return "busy"
    return "failed" if isinstance(error, InferenceUnavailable | InferenceTimeout) else "refused"


def server_generator(
    settings: Settings,
    *,
    on_breaker_change: OnState | None = None,
    on_lost: Callable[[], None] | None = None,
    watch: ServerWatch | None = None,
) -> Generator:
    """Make the client of the server, or servers, that the settings name.

    Args:
        settings: Effective settings.
        on_breaker_change: As for ``ModelServers``.
        on_lost: As for ``GrpcGenerator``.
        watch: As for ``ModelServers``; told nothing where one address is given.

    Raises:
        ConfigurationError: A file for TLS is missing, unreadable or wrong.
    """
    client: type[GrpcGenerator] = TritonGenerator
    if settings.inference is Inference.VLLM:
        from stream.inference.vllm import VllmGenerator  # noqa: PLC0415 - needs the extra [vllm]

        client = VllmGenerator

    def connect(address: Address, on_change: OnState | None) -> GrpcGenerator:
        return client(
            address.url,
            host=address.host,
            tls=tls_of_servers(settings),
            in_flight=settings.triton_in_flight,
            on_breaker_change=on_change,
            on_lost=on_lost,
        )

    given = settings.triton_url
    if changes(given) or len(split(given)) > 1:
        return ModelServers(given, connect, on_breaker_change=on_breaker_change, watch=watch)
    return connect(Address(given), on_breaker_change)

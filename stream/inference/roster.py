"""The servers that a prompt may go to, and the choice among them; it sends nothing itself."""

import itertools
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

_SLOW_START = 10.0  # seconds until a server that came or returned has its full share
_LEAST_SHARE = 0.1  # of a server that has just come


@dataclass(slots=True, eq=False)
class Member:
    """Server of the roster.

    Attributes:
        address: host:port.
        in_service: Whether prompts go there; an ejected server waits for its probe.
        in_flight: Prompts that it has now.
        since: The roster's time at which it began to serve, or returned.
        turn: Grows with each choice; orders servers with equal load.
    """

    address: str
    in_service: bool = True
    in_flight: int = 0
    since: float = 0.0
    turn: int = field(default=0)


class Roster:
    """Chooses the server with the least in flight, measured against the share that it may have by now.

    A server that is added or returns has a tenth of the full share at first, and all of it after ten seconds:
    its caches are cold, and it may fail again. Among servers with equal load the one that was chosen longest
    ago is next.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._turns = itertools.count(1)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, member: object) -> bool:
        return member in self._members.values()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, address: str) -> Member:
        """Add a server, in service."""
        member = Member(address, since=self._clock())
        self._members[address] = member
        return member

    def remove(self, address: str) -> Member:
        """Remove a server; no choice falls on it any more."""
        return self._members.pop(address)

    def eject(self, member: Member) -> None:
        """Take a server out of service."""
        member.in_service = False

    def restore(self, member: Member) -> None:
        """Put a server back into service, slowly."""
        member.in_service, member.since = True, self._clock()

    def choose(self, *, avoid: Collection[Member] = ()) -> Member | None:
        """The server for the next prompt; None while none is in service.

        Args:
            avoid: Servers that are chosen only where no other one is in service.
        """
        serving = [member for member in self if member.in_service]
        candidates = [member for member in serving if member not in avoid] or serving
        if not candidates:
            return None
        chosen = min(candidates, key=lambda member: (self._load(member), member.turn))
        chosen.turn = next(self._turns)
        return chosen

    def _load(self, member: Member) -> float:
        """Prompts in flight with the next one, over the share that the server may have."""
        share = (self._clock() - member.since) / _SLOW_START
        return (member.in_flight + 1) / min(1.0, max(_LEAST_SHARE, share))

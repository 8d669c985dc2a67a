"""Progress by partition and document: waits that last too long, each with its place and its seconds."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stream.worker.metrics import WorkerMetrics

Place = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds after which a wait makes the worker unready, and after which a restart would help."""

    late: float
    stuck: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A thing that has to move on, as it is seen now.

    Attributes:
        offset: Offset at which the partition or the document stands.
        what: The thing that does not happen, for a person.
        bounds: Of this wait.
        since: ``time.monotonic()`` of its last move; None: when it was first seen here.
    """

    topic: str
    partition: int
    offset: int
    what: str
    bounds: Bounds
    since: float | None = None

    @property
    def place(self) -> Place:
        """Identity of the wait from look to look."""
        return self.topic, self.partition, self.offset, self.what


@dataclass(frozen=True, slots=True)
class Delay:
    """A wait that has passed a bound."""

    topic: str
    partition: int
    offset: int
    seconds: float
    what: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.topic}/{self.partition}/{self.offset}: {self.what} for {self.seconds:.0f} s"

    def details(self) -> dict[str, Any]:
        """Return its fields, for the health pages."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}


@dataclass(slots=True)
class _Seen:
    since: float
    unexcused: float = 0.0


class ProgressWatch:
    """Follows waits from look to look.

    Time in which a dependency is down counts for readiness, and not toward a restart, which would not help.

    Args:
        metrics: Shows the longest wait of each partition.
    """

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._seen: dict[Place, _Seen] = {}
        self._looked_at = time.monotonic()
        self.late: list[Delay] = []
        self.stuck: Delay | None = None

    def look(self, waits: Iterable[Wait], *, excused: bool) -> None:
        """Take over the present waits; all others have ended.

        Args:
            waits: All there are.
            excused: Whether a dependency is down.
        """
        now = time.monotonic()
        passed = 0.0 if excused else now - self._looked_at
        self._looked_at = now
        before, self._seen = self._seen, {}
        self.late, self.stuck = [], None
        longest: dict[tuple[str, int], float] = {}
        for wait in waits:
            known = before.get(wait.place)
            since = wait.since if wait.since is not None else known.since if known else now
            stood = known is not None and since <= known.since
            seen = _Seen(since, known.unexcused + passed if known and stood else 0.0)
            self._seen[wait.place] = seen
            delay = Delay(wait.topic, wait.partition, wait.offset, now - since, wait.what)
            partition = wait.topic, wait.partition
            longest[partition] = max(longest.get(partition, 0.0), delay.seconds)
            if delay.seconds > wait.bounds.late:
                self.late.append(delay)
            if seen.unexcused > wait.bounds.stuck:
                self.stuck = delay
        self.late.sort(key=lambda delay: -delay.seconds)
        self._metrics.stalled(longest)

"""State of the worker for its health endpoints: dependencies, progress, assignment."""

import time
from dataclasses import dataclass, field

import structlog

from stream.worker.metrics import WorkerMetrics
from stream.worker.progress import Delay

_log = structlog.get_logger(__name__)
STALL_LIMIT = 180.0
_CHECK_LIMIT = 30.0
_FORGET_AFTER = 60.0  # seconds; retries come more often than that


class DependencyStatus:
    """Status of one dependency (model, broker, schema registry); every change is logged once.

    Several operations report: a probe each second, and the work itself. The dependency is up when none of
    them has failed: a server that answers the probe and fails the work is down. A failure that is not
    repeated within a minute is forgotten, since its documents may have gone to another worker.

    Args:
        name: The dependency, for logs and for ``padellm_part_up``.
        metrics: Receives the status.
    """

    def __init__(self, name: str, metrics: WorkerMetrics) -> None:
        self.name = name
        self._metrics = metrics
        self._reached = False
        self._failures: dict[str, tuple[str, float]] = {}
        self._down_since: float | None = None
        metrics.part_up(name, up=False)

    @property
    def cause(self) -> str | None:
        """Cause of the present outage; None while the dependency is up."""
        if self._failures:
            return next(iter(self._failures.values()))[0]
        return None if self._reached else "not reached yet"

    def failed(self, operation: str, error: object) -> None:
        """Note an operation that failed."""
        self._failures[operation] = (str(error) or type(error).__name__, time.monotonic())
        if self._down_since is None:
            self._down_since = time.monotonic()
            self._metrics.part_up(self.name, up=False)
            _log.warning(
                f"{self.name} unavailable",
                operation=operation,
                cause=self.cause,
                effect="documents are held, none is dropped",
            )

    def worked(self, operation: str) -> None:
        """Note an operation that succeeded."""
        if self._reached and self._down_since is None:  # as for nearly every document
            return
        self._failures.pop(operation, None)
        oldest = time.monotonic() - _FORGET_AFTER
        self._failures = {name: failure for name, failure in self._failures.items() if failure[1] > oldest}
        if self._failures or (self.cause is None and self._down_since is None):
            return
        if self._down_since is None:
            _log.info(f"{self.name} available")
        else:
            down = round(time.monotonic() - self._down_since, 1)
            _log.info(f"{self.name} recovered", unavailable_seconds=down)
        self._reached, self._down_since = True, None
        self._metrics.part_up(self.name, up=True)


@dataclass
class HealthState:
    """State behind ``/livez`` and ``/readyz``.

    Attributes:
        model: Status of the model.
        broker: Status of the broker.
        registry: Status of the schema registry; None where the settings name none.
        joined: Whether the group has given this worker its share of the partitions; the share may be empty.
        missing_topic: The documents topic while the broker does not know it.
        waiting: Documents in flight and records behind.
        stage: Present step of the start, for a person.
        fatal: Cause that only a restart of this process removes.
        late: Waits that have lasted too long for a worker that is ready.
        stuck: Wait that has lasted so long, without an outage, that a restart would help.
    """

    model: DependencyStatus
    broker: DependencyStatus
    registry: DependencyStatus | None = None
    joined: bool = False
    missing_topic: str | None = None
    waiting: int = 0
    stage: str = "starting"
    fatal: str | None = None
    late: list[Delay] = field(default_factory=list)
    stuck: Delay | None = None
    _checked: float | None = None
    _progress: float = field(default_factory=time.monotonic)

    def progress(self) -> None:
        """Note that something moved forward, or that there was nothing to move."""
        self._progress = time.monotonic()

    def checked(self) -> None:
        """Note that all of this was looked at."""
        self._checked = time.monotonic()

    @property
    def unchecked_for(self) -> float:
        """Seconds since all of this was looked at; 0 before the first time."""
        return 0.0 if self._checked is None else time.monotonic() - self._checked

    def delays(self) -> dict[str, str]:
        """Causes for which the worker does not progress as it should, by kind."""
        causes = {}
        if self.unchecked_for > _CHECK_LIMIT:
            causes["checks"] = f"the worker has not looked at itself for {self.unchecked_for:.0f} s"
        if self.late:
            causes["progress"] = str(self.late[0])
        return causes

    @property
    def idle_for(self) -> float:
        """Seconds since something moved forward."""
        return time.monotonic() - self._progress

    def outages(self) -> dict[str, str]:
        """Cause by dependency, for those that are down."""
        parts = (self.broker, self.model, self.registry)
        return {status.name: status.cause for status in parts if status is not None and status.cause}

    def stalled(self) -> str | None:
        """Reason to restart the worker, or None while it is alive.

        While a dependency is known to be down, waiting is right and a restart would not help.
        """
        if self.fatal:
            return self.fatal
        if self.unchecked_for > STALL_LIMIT:
            return f"the worker has not looked at itself for {self.unchecked_for:.0f} s"
        return None if self.outages() else self._standstill()

    def _standstill(self) -> str | None:
        if self.stuck is not None:
            return str(self.stuck)
        if self.idle_for > STALL_LIMIT and not self.joined:
            return f"no partitions were assigned for {self.idle_for:.0f} s"
        if self.idle_for > STALL_LIMIT and self.waiting:
            return f"{self.waiting} documents wait and nothing moved for {self.idle_for:.0f} s"
        return None

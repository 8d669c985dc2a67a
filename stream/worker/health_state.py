"""What the worker knows of its own state: progress, outages, assignment."""

import time
from dataclasses import dataclass, field

import structlog

from stream.worker.metrics import Telemetry

_log = structlog.get_logger(__name__)


class Outage:
    """Whether a part (model, broker) is away; said once when it goes and once when it is back.

    Args:
        part: Its name in logs and metrics.
        telemetry: Shows it as ``padellm_part_up``.
    """

    def __init__(self, part: str, telemetry: Telemetry) -> None:
        self.part = part
        self.cause: str | None = "not reached yet"
        self._telemetry = telemetry
        self._since: float | None = None
        telemetry.part_up(part, up=False)

    def began(self, error: object) -> None:
        """The part did not answer."""
        self.cause = str(error) or type(error).__name__
        if self._since is None:
            self._since = time.monotonic()
            self._telemetry.part_up(self.part, up=False)
            _log.warning(f"{self.part} away", cause=self.cause, effect="documents wait; none is given up")

    def ended(self) -> None:
        """The part answered."""
        if self.cause is None:
            return
        lasted = None if self._since is None else round(time.monotonic() - self._since, 1)
        self.cause = self._since = None
        self._telemetry.part_up(self.part, up=True)
        _log.info(f"{self.part} there", away_for_seconds=lasted)


@dataclass
class Vitals:
    """State that ``/livez`` and ``/readyz`` answer from.

    Attributes:
        model: Whether the model is away.
        broker: Whether the broker is away.
        joined: Whether the group has given this worker its share of the partitions, be it none.
        waiting: Documents in flight and records behind.
        stage: What the worker is doing before it serves, for a person.
    """

    model: Outage
    broker: Outage
    joined: bool = False
    waiting: int = 0
    stage: str = "starting"
    _progress: float = field(default_factory=time.monotonic)

    def progress(self) -> None:
        """Something moved forward, or there was nothing to move."""
        self._progress = time.monotonic()

    @property
    def idle_for(self) -> float:
        """Seconds since something moved forward."""
        return time.monotonic() - self._progress

    def stalled(self, limit: float) -> str | None:
        """Why the worker is to be restarted, or None while it is alive.

        While a part is known to be away, waiting is right and a restart would help nobody.
        """
        if self.model.cause or self.broker.cause or self.idle_for <= limit:
            return None
        if not self.joined:
            return f"no partitions were assigned for {self.idle_for:.0f} s"
        if self.waiting:
            return f"{self.waiting} documents wait and nothing moved for {self.idle_for:.0f} s"
        return None

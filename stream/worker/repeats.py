"""Repeated events of one worker, and whether their entities are those of the first."""

import hashlib
import json
from collections import OrderedDict

import structlog

from stream.contract.messages import EntityEvent
from stream.worker.metrics import WorkerMetrics

_log = structlog.get_logger(__name__)
_MOST = 10_000  # about 3 MB


class RepeatLog:
    """Keeps a digest of the entities of the latest events that this worker has published.

    A document that is read again has the ``event_id`` of the first time. Its entities should be those of then
    too; scores and timings may differ (``stream.contract.repeats``). Events of other workers, of this one
    before a restart, and from before the latest 10,000 are not known here.

    Args:
        metrics: Counts the repeats.
        most: Events that are remembered.
    """

    def __init__(self, metrics: WorkerMetrics, *, most: int = _MOST) -> None:
        self._metrics = metrics
        self._most = most
        self._digests: OrderedDict[str, bytes] = OrderedDict()

    def note(self, event: EntityEvent) -> None:
        """Take in an event that was published, and compare it with an earlier one of its id."""
        digest = _digest(event)
        first = self._digests.pop(event.event_id, None)
        self._digests[event.event_id] = digest
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)
        if first is None:
            return
        self._metrics.repeat(same=first == digest)
        if first != digest:
            _log.warning(
                "repeat with other entities",
                event_id=event.event_id,
                entities=len(event.entities),
                effect="readers that keep the first event of an id and readers that keep the last differ",
            )


def _digest(event: EntityEvent) -> bytes:
    """Digest of the places, labels and texts of an event's entities, without their scores."""
    entities = [(entity.start, entity.end, entity.label, entity.text) for entity in event.entities]
    return hashlib.blake2b(json.dumps(entities).encode(), digest_size=16).digest()

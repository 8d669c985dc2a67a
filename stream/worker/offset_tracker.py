"""Offsets that may be committed: those before which nothing is unfinished."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Partition = Any  # Faust's TP: a named tuple (topic, partition)


@dataclass(slots=True)
class Entry:
    """A document that was opened; ``finished`` once its outcome is safe in Kafka."""

    offset: int
    lane: "_Lane"
    finished: bool = False
    alive_at: float = field(default_factory=time.monotonic)  # its last completion, or its beginning


@dataclass(slots=True)
class _Lane:
    """One partition during one generation of the group."""

    generation: int
    open: deque[Entry] = field(default_factory=deque)
    last_opened: int = -1
    next_offset: int | None = None
    committed: int | None = None


class OffsetTracker:
    """Keeps, for each partition, the documents in flight in the order of their offsets.

    The committable offset is one past the last document of the finished prefix, whatever the offsets between
    documents are: offsets that hold none (transaction markers, aborted or compacted records) need no document
    to be passed over. A partition's entries live for one generation of the consumer group: what is finished
    later than that counts nowhere.
    """

    def __init__(self) -> None:
        self._lanes: dict[Partition, _Lane] = {}

    def open(self, partition: Partition, generation: int, offset: int) -> Entry | None:
        """Enter a document; None when this generation has seen it or a later one."""
        lane = self._lanes.get(partition)
        if lane is None or lane.generation != generation:
            lane = self._lanes[partition] = _Lane(generation)
        if offset <= lane.last_opened:
            return None
        entry = Entry(offset, lane)
        lane.last_opened = offset
        lane.open.append(entry)
        return entry

    def finish(self, entry: Entry) -> None:
        """Mark a document whose outcome Kafka has acknowledged."""
        entry.finished = True
        lane = entry.lane
        while lane.open and lane.open[0].finished:
            lane.next_offset = lane.open.popleft().offset + 1

    def finish_before(self, partition: Partition, offset: int) -> None:
        """Mark all documents of a partition before an offset: a transaction has committed them."""
        lane = self._lanes.get(partition)
        while lane is not None and lane.open and lane.open[0].offset < offset:
            self.finish(lane.open[0])

    def open_offsets(self, partition: Partition) -> Iterator[int]:
        """Offsets of the unfinished documents of a partition, in order."""
        lane = self._lanes.get(partition)
        return iter(()) if lane is None else (entry.offset for entry in lane.open)

    def committable(self) -> dict[Partition, int]:
        """Offset to commit for every partition that moved since its last commit."""
        return {
            partition: lane.next_offset
            for partition, lane in self._lanes.items()
            if lane.next_offset is not None and lane.next_offset != lane.committed
        }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note offsets that the broker has stored."""
        for partition, offset in offsets.items():
            if partition in self._lanes:
                self._lanes[partition].committed = offset

    def unfinished(self) -> Iterator[tuple[Partition, Entry]]:
        """Documents in flight, for each partition in the order of their offsets."""
        for partition, lane in self._lanes.items():
            for entry in lane.open:
                if not entry.finished:
                    yield partition, entry

    def last_opened(self, partition: Partition) -> int:
        """Offset of the latest document that was opened; -1 where there is none."""
        lane = self._lanes.get(partition)
        return -1 if lane is None else lane.last_opened

    def uncommitted(self) -> dict[Partition, int]:
        """Committed offset, or 0, of every partition that moved since."""
        return {partition: self._lanes[partition].committed or 0 for partition in self.committable()}

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are no longer ours, or whose log went back to an earlier offset."""
        for partition in partitions:
            self._lanes.pop(partition, None)

    def first_open(self, partition: Partition) -> int | None:
        """Offset of the first unfinished document; None when all that were opened are finished."""
        lane = self._lanes.get(partition)
        return lane.open[0].offset if lane is not None and lane.open else None

"""Samples of what passes by, in bounded buffers; their cost is the same whether a page is open or not."""

import heapq
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

import structlog

from stream.contract.messages import DeadLetter
from stream.worker.outcome import Finished
from stream.worker.page.samples import as_json, document_id

_log = structlog.get_logger(__name__)
_LATENCIES = 4_096
_EXPECTED = 16


@dataclass(frozen=True, slots=True)
class FeedSample:
    """A finished record, ready to be shown.

    Attributes:
        number: From 1, in the order in which the samples were taken.
        document_id: Of its document.
        line: As JSON, on one line.
    """

    number: int
    document_id: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Pace:
    """Attributes: ``per_second`` of finished records, and quantiles of their ``milliseconds``, by name."""

    per_second: float
    milliseconds: dict[str, float]


class Allowance:
    """So many a second on average, and the same number at once at most.

    Args:
        per_second: The number.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = self._left = per_second
        self._at = time.monotonic()

    def take(self, now: float) -> bool:
        """Take one, at a time of ``time.monotonic()``; False where none is left."""
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Buffer:
    """The latest samples, bounded in their number and in the bytes of their lines together."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._samples: deque[FeedSample] = deque()
        self.bytes = 0

    def add(self, sample: FeedSample) -> None:
        """Keep a sample; the oldest ones make room."""
        self._samples.append(sample)
        self.bytes += len(sample.line)
        while len(self._samples) > self._most or self.bytes > self._most_bytes:
            self.bytes -= len(self._samples.popleft().line)

    def newest_first(self) -> Iterator[FeedSample]:
        """All that are kept."""
        return reversed(self._samples)

    def __len__(self) -> int:
        return len(self._samples)


class SampleFeed:
    """Watches the stream: samples of its records, their pace, and a search among the samples.

    A sample is taken while the allowance lasts: 20 events and 5 dead letters a second, each kind with a
    buffer of its own, so that neither crowds out the other. All other records cost one clock reading.

    Args:
        events: Allowance of events.
        letters: Allowance of dead letters.
    """

    def __init__(self, events: Allowance | None = None, letters: Allowance | None = None) -> None:
        self._allowances = {False: events or Allowance(20), True: letters or Allowance(5)}
        self._buffers = {
            False: Buffer(most=500, most_bytes=4 * 2**20),
            True: Buffer(most=100, most_bytes=2**20),
        }
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_LATENCIES)
        self._expected: deque[bytes] = deque(maxlen=_EXPECTED)
        self._number = 0
        self.finished = 0

    def watch(self, finished: Finished) -> None:
        """Take over a finished record; raises nothing, whatever it holds."""
        try:
            self._take_over(finished)
        except Exception:  # noqa: BLE001 - the outcome is in Kafka; the worker would handle the record again
            _log.exception("sample failed")

    def expect(self, value: bytes) -> None:
        """Take a sample of the next record with this value, whatever passes by with it."""
        self._expected.append(value)

    @property
    def sampled(self) -> int:
        """Samples taken so far; ``finished`` counts all records."""
        return self._number

    @property
    def kept(self) -> int:
        """Samples that a search looks at."""
        return sum(map(len, self._buffers.values()))

    def since(self, number: int, *, most: int) -> list[FeedSample]:
        """The newest samples after one of this number, at most so many, the oldest first.

        A number that is not reached yet is of an earlier process, and counts as 0.
        """
        last = number if number <= self._number else 0
        newer = takewhile(lambda sample: sample.number > last, self._newest_first())
        return list(islice(newer, most))[::-1]

    def search(self, wanted: str, *, most: int) -> list[FeedSample]:
        """Samples whose document id holds these characters: the same id first, then the newest first."""
        wanted = wanted.casefold()
        found = [sample for sample in self._newest_first() if wanted in sample.document_id.casefold()]
        found.sort(key=lambda sample: sample.document_id.casefold() != wanted)
        return found[:most]

    def pace(self, *, seconds: float = 10.0) -> Pace:
        """The pace of the last seconds, or of the last 4,096 records where those are fewer."""
        now = time.monotonic()
        latest = list(takewhile(lambda at: at[0] > now - seconds, reversed(self._latencies)))
        whole = len(latest) == _LATENCIES
        span = now - latest[-1][0] if whole else seconds
        ordered = sorted(took for _, took in latest)
        quantiles = {
            name: round(1000 * ordered[int(share * (len(ordered) - 1))], 1)
            for name, share in (("p50", 0.5), ("p99", 0.99))
            if ordered
        }
        return Pace(round(len(latest) / max(span, 1e-3), 2), quantiles)

    def _newest_first(self) -> Iterator[FeedSample]:
        kinds = (buffer.newest_first() for buffer in self._buffers.values())
        return heapq.merge(*kinds, key=lambda sample: -sample.number)

    def _take_over(self, finished: Finished) -> None:
        now = time.monotonic()
        self.finished += 1
        self._latencies.append((now, finished.seconds))
        if finished.outcome is None:
            return
        is_letter = isinstance(finished.outcome, DeadLetter)
        if not self._allowances[is_letter].take(now) and not self._is_expected(finished):
            return
        self._number += 1
        line = as_json(self._number, finished)
        self._buffers[is_letter].add(FeedSample(self._number, document_id(finished), line))

    def _is_expected(self, finished: Finished) -> bool:
        value = finished.record.value
        if value is None or value not in self._expected:
            return False
        self._expected.remove(value)
        return True

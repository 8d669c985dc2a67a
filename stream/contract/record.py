"""A Kafka record as the worker sees it: untouched bytes and where they came from."""

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the documents topic.

    Attributes:
        timestamp: Seconds since the epoch, as the broker or the producer set it.
        key: Record key; None where there is none.
        value: Record value; None is a tombstone.
        headers: In their order; names may repeat.
    """

    topic: str
    partition: int
    offset: int
    timestamp: float = 0.0
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()

    @property
    def position(self) -> str:
        """topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

"""A Kafka record as the worker sees it: untouched bytes and where they came from."""

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the documents topic.

    Attributes:
        timestamp: Seconds since the epoch, as the broker or the producer set it, unchecked; None where there
            is none.
        key: Record key; None where there is none.
        value: Record value; None is a tombstone.
        headers: In their order; names may repeat. Bytes of a name that are not UTF-8 are escaped as
            surrogates (PEP 383).
    """

    topic: str
    partition: int
    offset: int
    timestamp: float | None = None
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()

    @property
    def position(self) -> str:
        """topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

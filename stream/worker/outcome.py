"""Finished records, each with its outcome, for those who watch the stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream.contract.messages import DeadLetter, EntityEvent
from stream.contract.record import Record


@dataclass(frozen=True, slots=True)
class Finished:
    """A record whose outcome Kafka has acknowledged.

    Attributes:
        record: The record.
        outcome: Its event or its dead letter; None where it holds no document.
        seconds: Time since the worker fetched it.
        texts: Texts of the document by the pointers of their fields, None for the one of a document without
            fields; none where the outcome is no event.
    """

    record: Record
    outcome: EntityEvent | DeadLetter | None
    seconds: float
    texts: Mapping[str | None, str] = field(default_factory=dict)


Watch = Callable[[Finished], None]
"""Called with every finished record, on the way of the next ones: it must be quick, and raise nothing."""


def nobody(_: Finished) -> None:
    """Watch nothing."""

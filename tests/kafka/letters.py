"""Dead letters for tests."""

from dataclasses import replace
from datetime import UTC, datetime

from stream.contract.failures import Failure, HeaderFamily
from stream.kafka.letters import StoredLetter

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def letter(
    offset: int, time: datetime | None = NOON, size: int | None = 10, **failure: object
) -> StoredLetter:
    """The dead letter of the document docs/0/<offset>; what is given of its failure is other than usual."""
    usual = Failure(HeaderFamily.KAFKA, "docs", 0, offset, "decode", "not_json", "no", attempts=1)
    return StoredLetter((0, 100 + offset), time, f"id-{offset}", size, replace(usual, **failure))

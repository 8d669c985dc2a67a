"""Options that choose dead letters, and their reading."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import ConfigurationError

if TYPE_CHECKING:
    from stream.kafka.letters import LetterSelection

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POSITION = re.compile(r"([0-9]{1,9})/([0-9]{1,18})")

Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="With this reason; may be given more than once.")
]
Stages = Annotated[
    list[str] | None, typer.Option("--stage", help="Of this stage; may be given more than once.")
]
DocumentIds = Annotated[
    list[str] | None, typer.Option("--id", help="About this document id; may be given more than once.")
]
Sources = Annotated[
    list[str] | None,
    typer.Option("--at", help="About the document at this PARTITION/OFFSET; may be given more than once."),
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Written at this time or later: 2026-11-29T14:00 (UTC unless it names an offset) or 2h."
    ),
]
Until = Annotated[str | None, typer.Option(help="Written before this time, in the same forms.")]


def selection(
    *,
    reasons: list[str] | None,
    stages: list[str] | None,
    ids: list[str] | None,
    at: list[str] | None,
    since: str | None,
    until: str | None,
) -> "LetterSelection":
    """Dead letters that the options choose.

    Raises:
        ConfigurationError: A time or a position cannot be read.
    """
    from stream.kafka.letters import LetterSelection

    now = datetime.now(UTC)
    return LetterSelection(
        reasons=frozenset(reasons or ()),
        stages=frozenset(stages or ()),
        document_ids=frozenset(ids or ()),
        sources=parse_positions(at or ()),
        since=parse_time(since, "--since", now=now),
        until=parse_time(until, "--until", now=now),
    )


def report_others(others: int, topic: str) -> None:
    """Say on standard error how many records of the dead-letter topic are no dead letters."""
    if others:
        typer.echo(
            f"padellm: skipped: {others} records of {topic} are no dead letters, by their headers",
            err=True,
        )


def parse_time(option: str | None, name: str, *, now: datetime) -> datetime | None:
    """A time of an option: ISO 8601, or a span before now such as 90s, 30m, 2h, 7d.

    Raises:
        ConfigurationError: It is neither.
    """
    if option is None:
        return None
    try:
        if ago := _AGO.fullmatch(option):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(option)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{name} {option}: expected a time such as 2026-11-29T14:00, or a span such as 30m, 2h or 7d"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_positions(options: Sequence[str]) -> frozenset[tuple[int, int]]:
    """Positions of ``--at``.

    Raises:
        ConfigurationError: One is not PARTITION/OFFSET.
    """
    found = []
    for option in options:
        position = _POSITION.fullmatch(option)
        if position is None:
            raise ConfigurationError(f"--at {option}: expected PARTITION/OFFSET of a document, such as 2/41")
        found.append((int(position[1]), int(position[2])))
    return frozenset(found)

"""``padellm dlq``."""

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.letter_options import (
    DocumentIds,
    Reasons,
    Since,
    Sources,
    Stages,
    Until,
    report_others,
    selection,
)
from stream.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from stream.kafka.letters import LetterCounts, StoredLetter


def dlq(  # noqa: PLR0917 - options of a command line
    reason: Reasons = None,
    stage: Stages = None,
    document_id: DocumentIds = None,
    at: Sources = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="List so many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the dead letters by stage, reason and hour, and list the newest.

    It reads the dead-letter topic beside its other readers and changes nothing. Dead letters of Kafka
    Connect, Kafka Streams, Kafka's share groups and Spring are read too; their reason is the class of the
    exception.

    Example: padellm dlq --since 2h

    Example: padellm dlq --reason inference_timeout --json
    """
    from stream.kafka.letters import count_letters, letter_json, select_letters

    settings = Settings()
    chosen = selection(reasons=reason, stages=stage, ids=document_id, at=at, since=since, until=until)
    letters, others = asyncio.run(select_letters(settings, chosen))
    report_others(others, settings.dead_letters_topic)
    counts = count_letters(letters)
    newest = sorted(letters, key=_age)[:limit]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "topic": settings.dead_letters_topic,
                    "broker": settings.broker,
                    "dead_letters": len(letters),
                    **counts.as_dict(),
                    "newest": [letter_json(letter) for letter in newest],
                }
            )
        )
        return
    typer.echo(f"{len(letters)} dead letters in {settings.dead_letters_topic} at {settings.broker}")
    if letters:
        _print(counts, newest)


def _age(letter: "StoredLetter") -> tuple[float, int]:
    """Sort key: the newest first, those without a time last."""
    return (-letter.time.timestamp() if letter.time else 0.0), -letter.at[1]


def _print(counts: "LetterCounts", newest: "list[StoredLetter]") -> None:
    from rich.console import Console
    from rich.text import Text

    from stream.cli.highlight import printable

    console = Console(highlight=False, soft_wrap=True)
    reasons = _table("Stage", "Reason", "Letters", "First (UTC)", "Last (UTC)")
    for each in counts.by_reason:
        reasons.add_row(
            printable(each.stage),
            printable(each.reason),
            str(each.letters),
            _time(each.first),
            _time(each.last),
        )
    hours = _table("Hour (UTC)", "Letters")
    for hour, number in counts.by_hour.items():
        hours.add_row(_time(hour), str(number))
    for table in (reasons, hours):
        console.print(table)
        console.print()
    for letter in newest:
        failure = letter.failure
        replays = f" (replay {failure.replays})" if failure.replays else ""
        console.print(
            Text.assemble(
                (f"{_time(letter.time)}  {printable(failure.position)}  ", "dim"),
                f"{printable(letter.document_id)}{replays}  ",
                (f"{printable(failure.stage)}, {printable(failure.reason)}: ", "bold red"),
                printable(failure.message),
            )
        )


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _time(time: datetime | None) -> str:
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%S")

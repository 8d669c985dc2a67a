"""``padellm try``."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from stream.settings import LogLevel, Settings

if TYPE_CHECKING:
    from stream.worker.trial import Trial


def trial(
    topic: Annotated[
        str | None, typer.Option(help="The topic to read. [default: PADELLM_DOCUMENTS_TOPIC]")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest records to read.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Show the entities of records that a topic holds already, with the present settings.

    It joins no consumer group, commits nothing and writes nothing: a worker beside it is not disturbed.

    Example: padellm try --topic crm.public.notes

    Example: PADELLM_RECORD_FORMAT=json PADELLM_TEXT_POINTERS=/body padellm try --topic tickets --limit 5
    """
    from stream.worker.logs import configure_logs

    settings = Settings() if topic is None else Settings(documents_topic=topic)
    configure_logs(LogLevel.ERROR, for_good=False)
    asyncio.run(_show(settings, limit, as_json=as_json))


async def _show(settings: Settings, limit: int, *, as_json: bool) -> None:
    from rich.console import Console

    from stream.kafka.reader import newest_records
    from stream.worker.trial import try_records

    console = Console(highlight=False, soft_wrap=True)
    records = await newest_records(settings.documents_topic, settings=settings, limit=limit)
    async for trial in try_records(records, settings):
        if as_json:
            typer.echo(json.dumps(_as_json(trial), ensure_ascii=False))
        else:
            console.print(_line(trial, settings))
    if not records and not as_json:
        typer.echo(f"{settings.documents_topic} holds no records")


def _line(trial: "Trial", settings: Settings) -> Text:
    from stream.cli.highlight import event_line, printable
    from stream.contract.messages import EntityEvent
    from stream.worker.codec import texts_in

    record, outcome = trial.record, trial.outcome
    place = (f"{record.partition}/{record.offset}  ", "dim")
    if isinstance(outcome, EntityEvent):
        return Text.assemble(place, event_line(outcome, texts_in(record, settings)))
    if outcome is None:
        return Text.assemble(place, ("no document: a tombstone, or a deleted row", "dim"))
    return Text.assemble(place, (f"{outcome.reason}: ", "bold red"), printable(outcome.message))


def _as_json(trial: "Trial") -> dict[str, Any]:
    from stream.contract.messages import EntityEvent

    place = {"partition": trial.record.partition, "offset": trial.record.offset}
    if trial.outcome is None:
        return place | {"no_document": True}
    kind = "event" if isinstance(trial.outcome, EntityEvent) else "dead_letter"
    return place | {kind: trial.outcome.model_dump(mode="json")}

"""``padellm consume``."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from stream.settings import Settings

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from stream.kafka.reader import SourceTexts

_LONGEST_VALUE = 200
_ERRORS = "__dlq.errors."
_OWN = "padellm."


def consume(
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for what comes from now on. [default: what is there now]")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --follow: first what is there already.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="What could not become an event, and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines.")] = False,
) -> None:
    """Show entity events, each with its text and the entities highlighted, or dead letters.

    It reads beside the consumers there are, and changes nothing for them.

    Example: padellm consume --follow

    Example: padellm consume --dead-letters --json
    """
    from stream.kafka.reader import read_topic

    settings = Settings()
    topic = settings.dead_letters_topic if dead_letters else settings.entities_topic
    start_at_first = from_beginning or not follow
    records = read_topic(topic, settings=settings, from_beginning=start_at_first, follow=follow)
    with suppress(KeyboardInterrupt):  # the ordinary end of --follow
        asyncio.run(_show(records, _renderer(dead_letters, as_json), settings, limit))


Render = Callable[["ConsumerRecord", "SourceTexts"], Awaitable[Text | str]]


def _renderer(dead_letters: bool, as_json: bool) -> Render:
    if dead_letters:
        return _dead_letter_json if as_json else _dead_letter_line
    return _event_json if as_json else _event_line


async def _show(
    records: AsyncGenerator["ConsumerRecord"], render: Render, settings: Settings, limit: int | None
) -> None:
    from rich.console import Console

    from stream.kafka.reader import source_texts

    console = Console(highlight=False, soft_wrap=True)
    async with source_texts(settings) as texts, aclosing(records):
        shown = 0
        async for record in records:
            line = await render(record, texts)
            if isinstance(line, Text):
                console.print(line)
            else:
                typer.echo(line)
            shown += 1
            if shown == limit:
                return


async def _event_json(record: "ConsumerRecord", _texts: "SourceTexts") -> str:
    return str(record.value.decode())


async def _event_line(record: "ConsumerRecord", texts: "SourceTexts") -> Text:
    from stream.cli.highlight import document_line, entities_line, printable
    from stream.contract.messages import EntityEvent

    event = EntityEvent.model_validate_json(record.value)
    text = await texts.text(event.source)
    fits = text is not None and all(text[each.start : each.end] == each.text for each in event.entities)
    line = document_line(text, event.entities) if text and fits else entities_line(event.entities)
    return Text.assemble((f"{printable(event.document_id)}  ", "dim"), line)


async def _dead_letter_json(record: "ConsumerRecord", _texts: "SourceTexts") -> str:
    return json.dumps({**_why(record), "key": _as_json(record.key), "value": _as_json(record.value)})


async def _dead_letter_line(record: "ConsumerRecord", _texts: "SourceTexts") -> Text:
    from stream.cli.highlight import printable

    why = _why(record)
    position = f"{why.get('topic')}/{why.get('partition')}/{why.get('offset')}"
    value = (record.value or b"").decode(errors="replace")
    return Text.assemble(
        (f"{position}  ", "dim"),
        (f"{why.get('stage')}, {why.get('reason')}: ", "bold red"),
        printable(str(why.get("message"))),
        (f"  {printable(value[:_LONGEST_VALUE])}", "dim"),
    )


def _why(record: "ConsumerRecord") -> dict[str, str]:
    """What the headers of a dead letter say, by plain name."""
    return {
        name.removeprefix(_ERRORS).removeprefix(_OWN): value.decode(errors="replace")
        for name, value in record.headers
        if value is not None and name.startswith((_ERRORS, _OWN))
    }


def _as_json(content: bytes | None) -> Any:
    """Text as it is; what is not UTF-8 as {"base64": ...}."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}

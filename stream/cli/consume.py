"""``padellm consume``."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.text import Text

from stream.contract.headers import TRUNCATED
from stream.contract.messages import DeadLetter, EntityEvent
from stream.errors import BadDocument, ForeignRecord
from stream.settings import Settings

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from stream.contract.record import Record
    from stream.kafka.reader import SourceTexts, Texts
    from stream.registry.values import RegistryValues

_LONGEST_VALUE = 200
Message = TypeVar("Message")


def consume(
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new records; default: show the present ones and end.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --follow: show the present records first.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after this many.")] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Show dead letters and their reasons instead of events.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Show entity events, each with its text and the entities highlighted, or dead letters.

    It reads beside the running consumers and changes nothing for them. Records of other programs are skipped,
    each with a line on stderr.

    Example: padellm consume --follow

    Example: padellm consume --dead-letters --json
    """
    from stream.kafka.reader import read_topic

    settings = Settings()
    topic = settings.dead_letters_topic if dead_letters else settings.entities_topic
    records = read_topic(topic, settings=settings, from_beginning=from_beginning or not follow, follow=follow)
    lines = _dead_letters(records, as_json) if dead_letters else _events(records, settings, as_json)
    with suppress(KeyboardInterrupt):  # the ordinary end of --follow
        asyncio.run(_show(lines, limit))


async def _show(lines: AsyncGenerator[Text | str], limit: int | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    async with aclosing(lines):
        async for line in lines:
            if isinstance(line, Text):
                console.print(line)
            else:
                typer.echo(line)
            shown += 1
            if shown == limit:
                return


async def _events(
    records: AsyncGenerator["ConsumerRecord"], settings: Settings, as_json: bool
) -> AsyncGenerator[Text | str]:
    from stream.kafka.reader import read_event, source_texts
    from stream.registry.values import readable, registry_values
    from stream.worker.codec import texts_in

    async with AsyncExitStack() as stack:
        values = registry_values(settings)
        if values is not None:
            stack.push_async_callback(values.close)
            records = _in_json(records, values)

        async def read(record: "Record") -> "Texts":
            return texts_in(await readable(record, values), settings)

        texts = None if as_json else await stack.enter_async_context(source_texts(settings, read))
        messages = await stack.enter_async_context(aclosing(_recognised(records, read_event)))
        async for record, event in messages:
            yield str(record.value.decode()) if texts is None else await _event_line(event, texts)


async def _in_json(
    records: AsyncGenerator["ConsumerRecord"], values: "RegistryValues"
) -> AsyncGenerator["ConsumerRecord"]:
    """Records of events with their values in JSON, without those that have none."""
    from stream.kafka.reader import as_record

    async with aclosing(records):
        async for record in records:
            try:
                event = await values.event(as_record(record))
            except BadDocument as bad:
                typer.echo(f"padellm: skipped: {as_record(record).position}: {bad}", err=True)
            else:
                yield replace(record, value=event.value)


async def _dead_letters(
    records: AsyncGenerator["ConsumerRecord"], as_json: bool
) -> AsyncGenerator[Text | str]:
    from stream.kafka.reader import read_letter

    async with aclosing(_recognised(records, read_letter)) as messages:
        async for record, letter in messages:
            yield (_dead_letter_json if as_json else _dead_letter_line)(record, letter)


async def _recognised(
    records: AsyncGenerator["ConsumerRecord"], read: Callable[["ConsumerRecord"], Message]
) -> AsyncGenerator[tuple["ConsumerRecord", Message]]:
    """Records with their messages, without those of other programs."""
    async with aclosing(records):
        async for record in records:
            try:
                message = read(record)
            except ForeignRecord as reason:
                typer.echo(f"padellm: skipped: {reason}", err=True)
            else:
                yield record, message


async def _event_line(event: EntityEvent, texts: "SourceTexts") -> Text:
    from stream.cli.highlight import event_line

    return event_line(event, await texts.texts(event.source))


def _dead_letter_json(record: "ConsumerRecord", letter: DeadLetter) -> str:
    truncated = dict(record.headers).get(TRUNCATED)
    original = {} if truncated is None else {"truncated": _as_json(truncated)}
    content = {"key": _as_json(record.key), "value": _as_json(record.value)}
    return json.dumps(letter.model_dump(mode="json") | original | content)


def _dead_letter_line(record: "ConsumerRecord", letter: DeadLetter) -> Text:
    from stream.cli.highlight import printable

    value = (record.value or b"").decode(errors="replace")
    return Text.assemble(
        (f"{printable(letter.topic)}/{letter.partition}/{letter.offset}  ", "dim"),
        (f"{letter.stage}, {printable(letter.reason)}: ", "bold red"),
        printable(letter.message),
        (f"  {printable(value[:_LONGEST_VALUE])}", "dim"),
    )


def _as_json(content: bytes | None) -> Any:
    """Text as it is; what is not UTF-8 as {"base64": ...}."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}

"""``padellm produce``."""

import asyncio
import json
from typing import Annotated

import typer

from stream.errors import ConfigurationError
from stream.settings import RecordEncoding, Settings

_INTERRUPTED = 130


def produce(
    file: Annotated[
        str,
        typer.Argument(help="JSON Lines, a JSON array, or plain text with one document a line; - is stdin."),
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Send every line as it is, whatever it holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send documents to the documents topic, and wait until the broker has confirmed every one.

    Each line of stdin is sent as soon as it is complete. Ctrl-C stops after delivering the lines read so far.

    Example: padellm produce documents.jsonl.gz

    Example: echo "Angela Merkel visited Paris." | padellm produce -
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from stream.kafka.producer import send
    from stream.kafka.records import count_records, read_records

    settings = Settings()
    if settings.record_encoding is RecordEncoding.REGISTRY:
        raise ConfigurationError(
            "padellm produce sends values as they are, and with PADELLM_RECORD_ENCODING=registry the worker "
            "takes none of them"
        )
    total = count_records(file, raw=raw)
    columns = (TextColumn("confirmed"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    confirmed, interrupted = 0, False
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("confirmed", total=total)

        def on_confirmed(*_: object) -> None:
            nonlocal confirmed
            confirmed += 1
            progress.advance(task)

        try:
            asyncio.run(send(read_records(file, raw=raw), settings=settings, on_confirmed=on_confirmed))
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        typer.echo(
            json.dumps({"documents": confirmed, "topic": settings.documents_topic, "broker": settings.broker})
        )
    else:
        typer.echo(f"{confirmed} documents delivered to {settings.documents_topic} at {settings.broker}")
    if interrupted:
        raise typer.Exit(_INTERRUPTED)

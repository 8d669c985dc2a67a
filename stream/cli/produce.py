"""``padellm produce``."""

import asyncio
import json
from typing import Annotated

import typer

from stream.settings import Settings


def produce(
    file: Annotated[
        str, typer.Argument(help="JSONL of documents, or plain text with one document a line; - is stdin.")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Send every line as it is, whatever it holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send documents to the documents topic, and wait until the broker has confirmed every one.

    Example: padellm produce documents.jsonl.gz

    Example: echo "Angela Merkel visited Paris." | padellm produce -
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from stream.kafka.producer import send
    from stream.kafka.records import count_records, read_records

    settings = Settings()
    total = count_records(file, raw=raw)
    columns = (TextColumn("confirmed"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("confirmed", total=total)
        records = read_records(file, raw=raw)
        confirmed = asyncio.run(
            send(records, settings=settings, on_confirmed=lambda _record, _position: progress.advance(task))
        )
    if as_json:
        typer.echo(
            json.dumps({"documents": confirmed, "topic": settings.documents_topic, "broker": settings.broker})
        )
    else:
        typer.echo(f"{confirmed} documents delivered to {settings.documents_topic} at {settings.broker}")

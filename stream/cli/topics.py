"""``padellm topics``."""

import asyncio
from typing import Annotated

import typer

from stream.settings import Settings


def topics(
    partitions: Annotated[
        int,
        typer.Option(min=1, help="Partitions of a new topic: the most workers that can share its documents."),
    ] = 4,
    replication: Annotated[
        int, typer.Option(min=-1, help="Copies of a new topic; -1 for the broker's default.")
    ] = -1,
) -> None:
    """Create the topics that are missing. Topics that exist are left as they are.

    Example: BROKER=broker:9092 padellm topics --partitions 8 --replication 3
    """
    from stream.kafka.topics import ensure_topics, topic_names

    settings = Settings()
    created = asyncio.run(ensure_topics(settings, partitions=partitions, replication=replication))
    for name in topic_names(settings):
        typer.echo(f"{name}: {'created' if name in created else 'exists'}")

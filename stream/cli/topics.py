"""``padellm topics``."""

import asyncio
from typing import Annotated

import typer

from stream.settings import Settings


def topics(
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of a new topic: as many workers can share the documents.")
    ] = 4,
    replication: Annotated[
        int, typer.Option(min=-1, help="Copies of a new topic; -1 leaves it to the broker.")
    ] = -1,
) -> None:
    """Make the topics that are not there. Topics that are there are left as they are.

    Example: BROKER=broker:9092 padellm topics --partitions 8 --replication 3
    """
    from stream.kafka.topics import ensure_topics, topic_names

    settings = Settings()
    made = asyncio.run(ensure_topics(settings, partitions=partitions, replication=replication))
    for name in topic_names(settings):
        typer.echo(f"{name}: {'made' if name in made else 'was there'}")

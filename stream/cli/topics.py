"""``padellm topics``."""

import asyncio
from typing import Annotated

import typer

from stream.settings import EventEncoding, Settings


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

    With a schema registry and events in its encoding, the schema of the events is registered too.

    Example: BROKER=broker:9092 padellm topics --partitions 8 --replication 3
    """
    from stream.kafka.topics import ensure_topics, topic_names

    settings = Settings()
    created = asyncio.run(ensure_topics(settings, partitions=partitions, replication=replication))
    for name in topic_names(settings):
        typer.echo(f"{name}: {'created' if name in created else 'exists'}")
    if settings.event_encoding is not EventEncoding.JSON:
        asyncio.run(_register(settings))


async def _register(settings: Settings) -> None:
    from stream.registry.values import RegistryValues

    values = RegistryValues(settings)
    try:
        schema_id = await values.register_events()
    finally:
        await values.close()
    typer.echo(f"{values.event_subject}: schema {schema_id} at {values.registry.url}")

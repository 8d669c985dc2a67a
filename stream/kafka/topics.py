"""The topics: their names, their creation, and the check that they exist.

A client that asks a broker about a topic by name may create it. Everything here lists topics first, so that a
misspelt name stays an error.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from stream.errors import DeliveryError
from stream.kafka.access import BrokerAccess
from stream.settings import Settings


def topic_names(settings: Settings) -> tuple[str, ...]:
    """Documents, entities, dead letters, and what is asked for beside: rows of entities, differences."""
    always = settings.documents_topic, settings.entities_topic, settings.dead_letters_topic
    shadow = settings.shadow_topic if settings.shadow_triton_url else None
    return (*always, *filter(None, (settings.entity_rows_topic, shadow)))


async def ensure_topics(settings: Settings, *, partitions: int = 4, replication: int = -1) -> list[str]:
    """Create the topics that are missing, for messages of the size the settings allow.

    Topics that exist are left as they are.

    Args:
        settings: Names the broker and the topics.
        partitions: Partitions of each new topic: the most workers that can share its documents.
        replication: Copies of each new topic; -1 leaves it to the broker's default.

    Returns:
        Names of the topics that were created.

    Raises:
        DeliveryError: The broker does not answer or refuses.
    """
    async with _admin(settings, "the topics cannot be created") as admin:
        existing = set(await admin.list_topics())
        missing = [name for name in topic_names(settings) if name not in existing]
        if missing:
            await _create(admin, missing, partitions, replication, settings.max_message_bytes)
    return missing


async def missing_topics(settings: Settings) -> list[str]:
    """Names of the topics that do not exist.

    Raises:
        DeliveryError: The broker does not answer.
    """
    async with _admin(settings, "the topics cannot be listed") as admin:
        existing = set(await admin.list_topics())
    return [name for name in topic_names(settings) if name not in existing]


async def partitions_of(settings: Settings, *topics: str) -> list[TopicPartition]:
    """All partitions of topics that must exist.

    Raises:
        DeliveryError: The broker does not answer, or has no such topic.
    """
    async with _admin(settings, "the topics cannot be listed") as admin:
        existing = set(await admin.list_topics())
        for topic in topics:
            if topic not in existing:
                raise DeliveryError(
                    f"the broker at {settings.broker} has no topic {topic}: create it with `padellm topics`, "
                    "or correct the name (`padellm config` shows all of them)"
                )
        described = await admin.describe_topics(list(topics))
    return [
        TopicPartition(each["topic"], part["partition"]) for each in described for part in each["partitions"]
    ]


@asynccontextmanager
async def _admin(settings: Settings, failure: str) -> AsyncIterator[AIOKafkaAdminClient]:
    access = BrokerAccess(settings)
    admin = AIOKafkaAdminClient(**access.options, client_id=f"{settings.group}-topics")
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError) as error:
        raise DeliveryError(
            f"{failure} at the Kafka broker {settings.broker}: {access.explained(error)}"
        ) from error
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, names: list[str], partitions: int, replication: int, message_bytes: int
) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                name=name,
                num_partitions=partitions,
                replication_factor=replication,
                # aiokafka lets -1, the broker's own default, through only beside assignments.
                replica_assignments={},
                topic_configs={"max.message.bytes": str(message_bytes)},
            )
            for name in names
        ]
    )
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another program was faster
            raise DeliveryError(
                f"topic {name} cannot be created: {error.__name__} {' '.join(map(str, message))}".rstrip()
            )

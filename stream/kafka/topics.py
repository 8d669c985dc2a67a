"""The topics: making them, and seeing that they are there."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from stream.errors import DeliveryError
from stream.settings import Settings


def topic_names(settings: Settings) -> tuple[str, str, str]:
    """Documents, entities, dead letters."""
    return settings.documents_topic, settings.entities_topic, settings.dead_letters_topic


async def ensure_topics(settings: Settings, *, partitions: int = 4, replication: int = -1) -> list[str]:
    """Make the topics that are not there, for messages of the size the settings allow.

    Topics that are there are left as they are.

    Args:
        settings: Names the broker and the topics.
        partitions: Partitions of each new topic: as many workers can share the documents.
        replication: Copies of each new topic; -1 leaves it to the broker's default.

    Returns:
        Names of the topics that were made.

    Raises:
        DeliveryError: The broker does not answer or refuses.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker, client_id=f"{settings.group}-topics")
    try:
        await admin.start()
        there = set(await admin.list_topics())
        missing = [name for name in topic_names(settings) if name not in there]
        if missing:
            await _make(admin, missing, partitions, replication, settings.max_message_bytes)
    except (KafkaError, OSError) as error:
        raise DeliveryError(f"the topics cannot be made at the broker {settings.broker}: {error}") from error
    finally:
        await admin.close()
    return missing


async def missing_topics(settings: Settings) -> list[str]:
    """The topics that are not there.

    Raises:
        DeliveryError: The broker does not answer.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker, client_id=f"{settings.group}-topics")
    try:
        await admin.start()
        there = set(await admin.list_topics())
    except (KafkaError, OSError) as error:
        raise DeliveryError(f"the broker {settings.broker} does not say its topics: {error}") from error
    finally:
        await admin.close()
    return [name for name in topic_names(settings) if name not in there]


async def _make(
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
        if code and error is not TopicAlreadyExistsError:  # made by another meanwhile
            raise DeliveryError(
                f"topic {name} cannot be made: {error.__name__} {' '.join(map(str, message))}".rstrip()
            )

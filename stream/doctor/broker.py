"""The Kafka broker and the topics."""

from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from stream.doctor.finding import Finding, fail, ok, warn
from stream.settings import Settings

_MAKE_TOPICS = "padellm up and padellm worker make them; or make it with your own tools"
_SIZE = "max.message.bytes"


async def check_broker(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the broker answers and has the topics, for messages as large as the settings allow."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker, request_timeout_ms=5000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        yield ok("broker", f"{len(cluster['brokers'])} answering at {settings.broker}")
        names = (settings.documents_topic, settings.entities_topic, settings.dead_letters_topic)
        for topic in await admin.describe_topics(list(names)):
            yield await _topic(admin, topic, settings)
    except (KafkaError, OSError) as error:
        yield fail(
            "broker", f"{settings.broker}: {error}", "start one with padellm up, or set BROKER=host:port"
        )
    finally:
        await admin.close()


async def _topic(admin: AIOKafkaAdminClient, topic: dict[str, Any], settings: Settings) -> Finding:
    subject = f"topic {topic['topic']}"
    if topic["error_code"]:
        return fail(subject, "is not there", _MAKE_TOPICS)
    limit = await _limit(admin, topic["topic"])
    found = f"{len(topic['partitions'])} partitions, messages up to {limit:,} bytes"
    if limit < settings.max_message_bytes:
        wanted = settings.max_message_bytes
        mend = f"raise its {_SIZE} to {wanted}, or lower PADELLM_MAX_MESSAGE_BYTES to {limit}"
        return warn(subject, found, mend)
    return ok(subject, found)


async def _limit(admin: AIOKafkaAdminClient, topic: str) -> int:
    """The topic's largest message."""
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {_SIZE: None})])
    (_code, _message, _kind, _name, entries) = answer.resources[0]
    return int(entries[0][1])

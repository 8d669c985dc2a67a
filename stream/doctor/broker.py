"""The Kafka broker and the topics."""

from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from stream.doctor.finding import Finding, fail, ok, warn
from stream.errors import ConfigurationError
from stream.kafka.access import BrokerAccess
from stream.kafka.topics import topic_names
from stream.settings import Settings

_CREATE_TOPIC = "create it with padellm topics, or correct its name"
_SIZE = "max.message.bytes"
_CLEANUP = "cleanup.policy"


async def check_broker(settings: Settings) -> AsyncIterator[Finding]:
    """Check that the broker answers and has the topics, for messages as large as the settings allow."""
    try:
        access = BrokerAccess(settings)
    except ConfigurationError as error:
        yield fail("broker", str(error), "correct the setting or the file that it names")
        return
    admin = AIOKafkaAdminClient(**access.options, request_timeout_ms=5000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        yield ok("broker", f"{len(cluster['brokers'])} answering at {settings.broker}")
        listed = set(await admin.list_topics())  # to describe a missing topic might create it
        existing = [name for name in topic_names(settings) if name in listed]
        for name in topic_names(settings):
            if name not in listed:
                yield fail(f"topic {name}", "does not exist", _CREATE_TOPIC)
        for topic in await admin.describe_topics(existing) if existing else ():
            yield await _topic(admin, topic, settings)
    except (KafkaError, OSError) as error:
        yield fail(
            "broker",
            f"{settings.broker}: {access.explained(error)}",
            "start one with padellm up, set BROKER=host:port, or correct the settings of its protection",
        )
    finally:
        await admin.close()


async def _topic(admin: AIOKafkaAdminClient, topic: dict[str, Any], settings: Settings) -> Finding:
    subject = f"topic {topic['topic']}"
    if topic["error_code"]:
        return fail(subject, for_code(topic["error_code"]).__name__, "see the broker's log")
    configs = await _configs(admin, topic["topic"])
    limit, wanted = int(configs[_SIZE]), settings.max_message_bytes
    found = f"{len(topic['partitions'])} partitions, messages up to {limit:,} bytes"
    if "compact" in configs[_CLEANUP]:
        compacted = f"{found}; compacted, so of records with one key only the last is kept"
        return warn(subject, compacted, f"set its {_CLEANUP} to delete")
    if limit < wanted:
        fix = f"raise its {_SIZE} to {wanted}, or lower PADELLM_MAX_MESSAGE_BYTES to {limit}"
        return warn(subject, found, fix)
    return ok(subject, found)


async def _configs(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """Read the topic's largest message and clean-up policy."""
    wanted = dict.fromkeys((_SIZE, _CLEANUP))
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)])
    *_, entries = answer.resources[0]
    return {name: value for name, value, *_ in entries}

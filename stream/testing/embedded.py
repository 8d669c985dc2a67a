"""The embedded stack as the service under test: a real Kafka, the worker and its model, each a process."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from stream.contract.messages import Source
from stream.contract.record import Headers
from stream.kafka.access import BrokerAccess
from stream.local.plan import running_stack
from stream.settings import Settings

_REWIND_LIMIT = 60.0
_REWIND_PAUSE = 0.05
_LOG_CHARACTERS = 2000


class EmbeddedService:
    """The embedded stack in a temporary folder.

    Args:
        settings: Of the worker; a broker or a Triton that they name is not used.
    """

    def __init__(self, settings: Settings) -> None:
        # Nothing counts as set: a test must not reach a broker or Triton that the environment names.
        self.settings = Settings.model_construct(_fields_set=set(), **settings.model_dump())

    async def start(self) -> None:
        """Start the stack.

        Raises:
            stream.errors.StackError: A part does not start.
            stream.errors.CheckpointError: The settings' model folder holds no model.
        """
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="padellm-testing-")))
            running = running_stack(self.settings, data_dir=folder, on_change=lambda _: None)
            self._plan, self._supervisor = await stack.enter_async_context(running)
            self.settings = self._plan.settings
            self._producer = await stack.enter_async_context(
                AIOKafkaProducer(
                    **BrokerAccess(self.settings).options, max_request_size=self.settings.max_message_bytes
                )
            )
            self._running = stack.pop_all()

    async def close(self) -> None:
        """Stop the stack."""
        await self._running.aclose()

    async def produce(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Source:
        """Produce a record to the documents topic; returns when the broker has it."""
        stored = await self._producer.send_and_wait(
            self.settings.documents_topic,
            key=key,
            value=value,
            headers=list(headers),
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        return Source(topic=stored.topic, partition=stored.partition, offset=stored.offset)

    async def redeliver(self, source: Source) -> None:
        """Stop the worker, commit this record's offset for it, and let the supervisor start it again."""
        place = TopicPartition(source.topic, source.partition)
        async with self.consumer((), self.settings.group) as consumer:
            consumer.assign([place])
            os.kill(self._supervisor.pids()["worker"], signal.SIGTERM)
            async with asyncio.timeout(_REWIND_LIMIT):
                while True:
                    try:
                        await consumer.commit({place: source.offset})
                    except KafkaError:  # the group takes it from a stranger once the worker has left
                        await asyncio.sleep(_REWIND_PAUSE)
                    else:
                        return

    def consumer(self, topics: Sequence[str], group: str | None) -> AIOKafkaConsumer:
        """A consumer of topics."""
        return AIOKafkaConsumer(
            *topics,
            **BrokerAccess(self.settings).options,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    async def trouble(self) -> str:
        """The end of the worker's log."""
        log = await asyncio.to_thread(self._plan.worker.log_file.read_text, errors="replace")
        return f"the worker's log ends with\n{log[-_LOG_CHARACTERS:]}"

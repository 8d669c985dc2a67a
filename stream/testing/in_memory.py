"""The worker in this process, over a broker in memory and a scripted model."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from stream.bundled import model_folder
from stream.contract.messages import Source
from stream.contract.record import Headers, Record
from stream.errors import ConfigurationError
from stream.generation import Generator
from stream.kafka.topics import topic_names
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.testing.answers import Answers, ScriptedGenerator
from stream.testing.memory_broker import MemoryBroker, MemoryConsumer
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus, HealthState
from stream.worker.intake import InFlightLimit, Intake
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import serve_with
from stream.worker.offset_tracker import OffsetTracker
from stream.worker.publisher import Publisher

_PARTITIONS = 4  # as the embedded stack creates its topics
_DRAIN_LIMIT = 0.5  # seconds; the test is over


class InMemoryService:
    """The service without Kafka and Triton: handler, intake and publisher are the worker's own.

    Args:
        settings: Of the worker.
        answers: Of the model; or a generator to ask in their place.
    """

    def __init__(self, settings: Settings, answers: Answers | Generator) -> None:
        self.settings = settings
        self._answers = answers
        self._broker = MemoryBroker(topic_names(settings), partitions=_PARTITIONS)
        self._documents = MemoryConsumer(self._broker, settings.documents_topic)
        self._generation = 1

    async def start(self) -> None:
        """Start the worker.

        Raises:
            stream.errors.ConfigurationError: The settings name a schema registry, which is left out here.
            stream.errors.CheckpointError: The settings' model folder holds no model.
        """
        settings, metrics = self.settings, WorkerMetrics()
        if settings.schema_registry_url is not None:
            raise ConfigurationError(
                "the service in memory speaks plain JSON: leave schema_registry_url out of its settings"
            )
        self._health = health = HealthState(
            model=DependencyStatus("model", metrics), broker=DependencyStatus("broker", metrics)
        )
        template = PromptTemplate.load(model_folder(settings.model))
        self._generator = _generator(self._answers, template)
        model = serve_with(settings, template, self._generator, metrics, health.progress)
        self._publisher = _MemoryPublisher(self._broker, settings, metrics, health.broker)
        await self._publisher.start()
        self._intake = Intake(
            Handler(settings, model, self._publisher, metrics, health.model).handle,
            OffsetTracker(),
            InFlightLimit(settings.max_in_flight, settings.max_in_flight_bytes, metrics),
            health,
        )
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Stop the worker; documents in flight are abandoned."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._intake.drain(_DRAIN_LIMIT)
        await self._publisher.close()
        await self._generator.close()

    async def produce(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Source:
        """Store a record in the documents topic."""
        record = self._broker.append(
            self.settings.documents_topic,
            key=key,
            value=value,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        return Source(topic=record.topic, partition=record.partition, offset=record.offset)

    async def redeliver(self, source: Source) -> None:
        """Read the partition again from this record on, in a new generation of the group."""
        self._generation += 1
        self._documents.seek(TopicPartition(source.topic, source.partition), source.offset)

    def consumer(self, topics: Sequence[str], group: str | None) -> MemoryConsumer:
        """A consumer of topics."""
        return MemoryConsumer(self._broker, *topics, group=group)

    async def trouble(self) -> str:
        """Cause of missing outcomes, as far as it is known."""
        if self._reading.done():
            return f"the worker broke down: {self._reading.exception()!r}"
        outages = (f"{part}: {cause}" for part, cause in self._health.outages().items())
        return "; ".join(outages) or "the model is still at work"

    async def _read(self) -> None:
        async for record in self._documents:
            generation = self._generation
            await self._intake.admit(
                TopicPartition(record.topic, record.partition),
                generation,
                _as_read(record),
                current=lambda generation=generation: generation == self._generation,  # type: ignore[misc]
            )


class _MemoryPublisher(Publisher):
    """The worker's publisher, connected to a broker in memory."""

    def __init__(self, memory: MemoryBroker, *args: Any) -> None:
        super().__init__(*args)
        self._memory = memory

    async def _connected(self) -> Any:
        return _MemoryProducer(self._memory)


class _MemoryProducer:
    """The methods of aiokafka's producer that the publisher calls."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[ConsumerRecord]:
        acknowledged: asyncio.Future[ConsumerRecord] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(self._broker.append(topic, key=key, value=value, headers=tuple(headers)))
        return acknowledged

    async def stop(self) -> None:
        """Do nothing: what was sent is stored."""


def _generator(answers: Answers | Generator, template: PromptTemplate) -> Generator:
    if isinstance(answers, Mapping) or callable(answers):
        return ScriptedGenerator(answers, template)
    return answers


def _as_read(record: ConsumerRecord) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp / 1000,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )

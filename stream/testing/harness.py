"""Harness of a test: documents in, records of events and dead letters out, in memory or on the real stack."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from aiokafka.structs import ConsumerRecord

from stream.contract.messages import Document, Source
from stream.contract.record import Headers, Record
from stream.errors import BadDocument
from stream.generation import Generator
from stream.kafka.reader import read_event, read_letter, read_row
from stream.kafka.topics import topic_names
from stream.settings import Settings
from stream.testing.answers import Answers
from stream.testing.in_memory import InMemoryService
from stream.worker.codec import decode
from stream.worker.envelopes import NoDocument

_POLL_MS = 200


class ServiceUnderTest(Protocol):
    """The service behind a harness."""

    settings: Settings

    async def start(self) -> None:
        """Start it; it serves when this returns."""
        ...

    async def close(self) -> None:
        """Stop it."""
        ...

    async def produce(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None,
        timestamp_ms: int | None,
    ) -> Source:
        """Put a record on the documents topic."""
        ...

    async def redeliver(self, source: Source) -> None:
        """Let the worker read a partition again from this record on."""
        ...

    def consumer(self, topics: Sequence[str], group: str | None) -> Any:
        """A consumer of topics, from the committed offsets of its group or else from the beginning."""
        ...

    async def trouble(self) -> str:
        """Cause of missing outcomes, for a person."""
        ...


class Harness:
    """The service under test, for asyncio; use it in an ``async with`` block.

    Args:
        answers: Of the model, in memory: mentions by label, or a function; or a ``Generator`` to ask in their
            place. None finds nothing. The real stack's model answers by itself.
        real: Run Kafka, the worker and its model as processes of this machine, on free ports and in a
            temporary folder; needs the extra ``local``.
        settings: Of the worker; default: the environment's. Its broker and Triton are never used.
        patience: Seconds to wait for the outcomes of documents.

    Raises:
        stream.errors.CheckpointError: On entry: the settings' model folder holds no model.
        stream.errors.StackError: On entry: a part of the real stack does not start.
    """

    def __init__(
        self,
        answers: Answers | Generator | None = None,
        *,
        real: bool = False,
        settings: Settings | None = None,
        patience: float = 60.0,
    ) -> None:
        self._service = _service(answers or {}, settings or Settings(), real=real)
        self._patience = patience
        self._expected: dict[Source, int] = {}
        self._outcomes: dict[Source, list[ConsumerRecord]] = {}
        self._rows: dict[Source, list[ConsumerRecord]] = {}
        self._expected_rows: Counter[Source] = Counter()

    @property
    def settings(self) -> Settings:
        """Settings of the worker, with the names of the topics and the address of a real broker."""
        return self._service.settings

    async def __aenter__(self) -> Self:
        await self._service.start()
        try:
            self._reader = self.consumer(*topic_names(self.settings)[1:])
            await self._reader.start()
        except BaseException:
            await self._service.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.stop()
        await self._service.close()

    async def send(
        self,
        document: Document | str | bytes | None,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Source:
        """Put a document on the documents topic.

        Args:
            document: A document, or its text; bytes are the record's value as they are, and None is a
                tombstone.
            key: Key of the record; None is the document's id, or no key where there is none.
            headers: Headers of the record.
            partition: Partition of the record; None chooses by the key, or else at random.
            timestamp_ms: Timestamp of the record, in milliseconds since the epoch; None is now.

        Returns:
            Position of the record.
        """
        if isinstance(document, str):
            document = Document(text=document)
        if isinstance(document, Document):
            key = key or document.id.encode() or None
            document = document.model_dump_json(exclude_defaults=True).encode()
        given = tuple(headers)
        source = await self._service.produce(key, document, given, partition, timestamp_ms)
        self._expected[source] = int(self._holds_document(document, given))
        return source

    async def redeliver(self, source: Source) -> None:
        """Let the worker read a record again, and all behind it in its partition, as after its sudden death.

        Each of them has one more outcome then, with the same ``event_id``.
        """
        await self._settle()  # a repeat of what is still in flight would be none
        await self._service.redeliver(source)
        for each in self._expected:
            if each.partition == source.partition and each.offset >= source.offset and self._expected[each]:
                self._expected[each] += 1

    async def events(self) -> list[ConsumerRecord]:
        """Wait for the outcomes of all documents, and return all records of the entities topic.

        Returns:
            In the order in which the documents were sent; repeats follow the first one.

        Raises:
            TimeoutError: Outcomes are missing; names the documents.
        """
        return await self._of_topic(self.settings.entities_topic)

    async def dead_letters(self) -> list[ConsumerRecord]:
        """Wait and return as ``events``, for the dead-letter topic.

        Raises:
            TimeoutError: As ``events``.
        """
        return await self._of_topic(self.settings.dead_letters_topic)

    async def rows(self) -> list[ConsumerRecord]:
        """Wait and return as ``events``, for the topic of rows; empty where the settings name none.

        Raises:
            TimeoutError: As ``events``.
        """
        await self._settle()
        return [record for source in self._expected for record in self._rows.get(source, ())]

    def consumer(self, *topics: str, group: str | None = None) -> Any:
        """A consumer for the program under test: ``aiokafka.AIOKafkaConsumer``, or its methods in memory.

        It begins at the committed offsets of its group, or else at the beginning, and commits only when it is
        told to. It must be started and stopped.

        Args:
            topics: Names of topics; ``settings`` has them.
            group: Consumer group; None has no committed offsets.
        """
        return self._service.consumer(topics, group)

    def _holds_document(self, value: bytes | None, headers: Headers) -> bool:
        """Return whether a record has an outcome; a deleted row, for example, has none."""
        try:
            decode(Record(self.settings.documents_topic, 0, 0, value=value, headers=headers), self.settings)
        except NoDocument:
            return False
        except BadDocument:
            pass
        return True

    async def _of_topic(self, topic: str) -> list[ConsumerRecord]:
        await self._settle()
        return [
            record
            for source in self._expected
            for record in self._outcomes.get(source, ())
            if record.topic == topic
        ]

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while self._missing():
                    for batch in (await self._reader.getmany(timeout_ms=_POLL_MS)).values():
                        for record in batch:
                            self._note(record)
        except TimeoutError:
            missing = ", ".join(f"{each.topic}/{each.partition}/{each.offset}" for each in self._missing())
            raise TimeoutError(
                f"after {self._patience:g} s there is no event and no dead letter, or not every row, of "
                f"{missing}: "
                f"{await self._service.trouble()}"
            ) from None

    def _missing(self) -> list[Source]:
        return [
            source
            for source, outcomes in self._expected.items()
            if len(self._outcomes.get(source, ())) < outcomes
            or len(self._rows.get(source, ())) < self._expected_rows[source]
        ]

    def _note(self, record: ConsumerRecord) -> None:
        if record.topic == self.settings.entity_rows_topic:
            row = read_row(record)
            source = Source(topic=row.source_topic, partition=row.source_partition, offset=row.source_offset)
            self._rows.setdefault(source, []).append(record)
            return
        if record.topic == self.settings.entities_topic:
            event = read_event(record)
            source = event.source
            if self.settings.entity_rows_topic:
                self._expected_rows[source] += max(1, len(event.entities))
        else:
            letter = read_letter(record)
            source = Source(topic=letter.topic, partition=letter.partition, offset=letter.offset)
        self._outcomes.setdefault(source, []).append(record)


class SyncHarness:
    """``Harness`` for tests without asyncio; use it in a ``with`` block, outside any event loop.

    The service works only while a method waits. Arguments are those of ``Harness``.
    """

    def __init__(
        self,
        answers: Answers | Generator | None = None,
        *,
        real: bool = False,
        settings: Settings | None = None,
        patience: float = 60.0,
    ) -> None:
        self._harness = Harness(answers, real=real, settings=settings, patience=patience)
        self._runner = asyncio.Runner()

    @property
    def settings(self) -> Settings:
        """As ``Harness.settings``."""
        return self._harness.settings

    def __enter__(self) -> Self:
        try:
            self._runner.run(self._harness.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._harness.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    def send(
        self,
        document: Document | str | bytes | None,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Source:
        """As ``Harness.send``."""
        return self._runner.run(
            self._harness.send(
                document, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms
            )
        )

    def redeliver(self, source: Source) -> None:
        """As ``Harness.redeliver``."""
        self._runner.run(self._harness.redeliver(source))

    def events(self) -> list[ConsumerRecord]:
        """As ``Harness.events``."""
        return self._runner.run(self._harness.events())

    def dead_letters(self) -> list[ConsumerRecord]:
        """As ``Harness.dead_letters``."""
        return self._runner.run(self._harness.dead_letters())

    def rows(self) -> list[ConsumerRecord]:
        """As ``Harness.rows``."""
        return self._runner.run(self._harness.rows())


def _service(answers: Answers | Generator, settings: Settings, *, real: bool) -> ServiceUnderTest:
    if real:
        from stream.testing.embedded import EmbeddedService  # noqa: PLC0415 - the servers' packages

        return EmbeddedService(settings)
    return InMemoryService(settings, answers)

"""Values of records between Confluent's wire format and JSON, by the schemas of a registry."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace

from stream.bundled import contract_file
from stream.contract.messages import EntityEvent
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument, ConfigurationError, RegistryUnavailable
from stream.registry.client import RegisteredSchema, SchemaRegistry
from stream.registry.wire import prefixed, split
from stream.settings import EventEncoding, RecordEncoding, RecordFormat, Settings

_MOST_READERS = 200
_Read = Callable[[bytes], bytes]
_EVENT_SCHEMAS = {
    EventEncoding.AVRO: ("AVRO", "entity-event.avsc"),
    EventEncoding.JSON_SCHEMA: ("JSON", "entity-event.schema.json"),
}
_EXTRA = "PADELLM_SCHEMA_REGISTRY_URL needs fastavro: pip install 'padellm-stream[avro]'"


class RegistryValues:
    """Reads and writes values with the schemas of one registry.

    A schema is asked for once; the least recently used of many is forgotten. So a registry that goes away
    holds up only what was written with a schema not seen before.

    Args:
        settings: Name the registry, the topics and the encodings.

    Raises:
        ConfigurationError: fastavro is not installed, or a file that the settings name cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            from stream.registry import avro  # noqa: PLC0415 - fastavro is optional
        except ImportError as error:
            raise ConfigurationError(_EXTRA) from error
        self._avro = avro
        self.settings = settings
        self.registry = SchemaRegistry(settings)
        self._readers: OrderedDict[tuple[int, str | None], _Read] = OrderedDict()
        self._asking = asyncio.Lock()
        self._event_id: int | None = None
        self._writer = avro.EventWriter()

    async def document(self, record: Record) -> Record:
        """A record of the documents topic with its value in JSON; a tombstone as it is.

        Raises:
            BadDocument: Its value is not in the wire format, its schema is unknown, or the two do not fit.
            RegistryUnavailable: The registry does not answer; a later try may help.
            ConfigurationError: A file of the login or of TLS cannot be read.
        """
        if self.settings.record_encoding is not RecordEncoding.REGISTRY:
            return record
        own = self.settings.record_format is RecordFormat.DOCUMENT
        return await self._opened(record, "document.avsc" if own else None)

    async def event(self, record: Record) -> Record:
        """A record of the entities topic with its value in JSON.

        Raises:
            BadDocument, RegistryUnavailable, ConfigurationError: As ``document``.
        """
        if self.settings.event_encoding is EventEncoding.JSON:
            return record
        return await self._opened(record, "entity-event.avsc")

    async def encoded(self, event: EntityEvent, text: bytes, metadata: Mapping[str, str]) -> bytes:
        """The value of an event's record.

        Args:
            event: The event.
            text: The same as JSON.
            metadata: JSON texts of its metadata by name.

        Raises:
            RegistryUnavailable: The registry does not answer, or lacks the schema; a later try may help.
            ConfigurationError: A file of the login or of TLS cannot be read.
        """
        encoding = self.settings.event_encoding
        if encoding is EventEncoding.JSON:
            return text
        schema_id = await self._id_of_events()
        return prefixed(
            schema_id, self._writer.payload(event, metadata) if encoding is EventEncoding.AVRO else text
        )

    async def prepare(self) -> None:
        """Ask the registry for what every event needs.

        Raises:
            RegistryUnavailable, ConfigurationError: As ``encoded``.
        """
        if self.settings.event_encoding is EventEncoding.JSON:
            await self.registry.check()
        else:
            await self._id_of_events()

    async def register_events(self) -> int:
        """Register the schema of the events, unless it is there, and return its id.

        Raises:
            RegistryUnavailable: The registry does not answer.
            ConfigurationError: It refuses the schema.
        """
        return await self.registry.register(self.event_subject, self._event_schema())

    @property
    def event_subject(self) -> str:
        """Subject of the events' schema, by the strategy of topic names."""
        return f"{self.settings.entities_topic}-value"

    async def close(self) -> None:
        """Close the connections."""
        await self.registry.close()

    def _event_schema(self) -> RegisteredSchema:
        kind, file = _EVENT_SCHEMAS[self.settings.event_encoding]
        return RegisteredSchema(kind, contract_file(file))

    async def _id_of_events(self) -> int:
        if self._event_id is None:
            async with self._asking:
                if self._event_id is None:
                    self._event_id = await self.registry.id_of(self.event_subject, self._event_schema())
        if self._event_id is None:
            raise RegistryUnavailable(
                f"the schema registry at {self.registry.url} lacks this version's schema under "
                f"{self.event_subject}: register it with padellm topics"
            )
        return self._event_id

    async def _opened(self, record: Record, ours: str | None) -> Record:
        if record.value is None:
            return record
        schema_id, payload = split(record, record.value)
        read = await self._reader(schema_id, ours)
        try:
            return replace(record, value=read(payload))
        except BadDocument as bad:
            raise BadDocument(bad.reason, f"schema {schema_id}: {bad}") from bad

    async def _reader(self, schema_id: int, ours: str | None) -> _Read:
        key = schema_id, ours
        if key not in self._readers:
            async with self._asking:  # so that many documents of a new schema ask once
                if key not in self._readers:
                    self._readers[key] = await self._make_reader(schema_id, ours)
                    if len(self._readers) > _MOST_READERS:
                        self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return self._readers[key]

    async def _make_reader(self, schema_id: int, ours: str | None) -> _Read:
        schema = await self.registry.schema(schema_id)
        if schema is None:
            raise BadDocument(
                Reason.SCHEMA_UNKNOWN,
                f"the schema registry at {self.registry.url} has no schema {schema_id}: was the record "
                "written with another registry?",
            )
        if schema.kind == "JSON":
            return _as_it_is
        if schema.kind != "AVRO":
            return _refusing(Reason.SCHEMA_UNSUPPORTED, f"its kind is {schema.kind}; AVRO and JSON are read")
        try:
            return self._avro.AvroReader(schema.text, schema.references, ours=ours).as_json
        except BadDocument as bad:
            return _refusing(bad.reason, str(bad))


def _as_it_is(payload: bytes) -> bytes:
    return payload


def _refusing(reason: str, message: str) -> _Read:
    def refuse(_: bytes) -> bytes:
        raise BadDocument(reason, message)

    return refuse


def registry_values(settings: Settings) -> RegistryValues | None:
    """Values of the settings' registry; None where they name none.

    Raises:
        ConfigurationError: As ``RegistryValues``.
    """
    return None if settings.schema_registry_url is None else RegistryValues(settings)


async def readable(record: Record, values: RegistryValues | None) -> Record:
    """A record of the documents topic with its value in JSON where it has one, else as it is.

    Raises:
        RegistryUnavailable, ConfigurationError: As ``RegistryValues.document``.
    """
    if values is None:
        return record
    try:
        return await values.document(record)
    except BadDocument:
        return record

"""Choices of the settings, as their variables spell them."""

from enum import StrEnum
from typing import Self


class RecordFormat(StrEnum):
    """Form of the records on the documents topic: our own, a text, or JSON with pointers to its texts."""

    DOCUMENT = "document"
    TEXT = "text"
    JSON = "json"
    CLOUDEVENTS = "cloudevents"
    DEBEZIUM = "debezium"

    @property
    def has_pointers(self) -> bool:
        """Pointers of the settings say where the text is."""
        return self not in {RecordFormat.DOCUMENT, RecordFormat.TEXT}


class RecordEncoding(StrEnum):
    """Encoding of the records' values: as they are, or in Confluent's wire format."""

    PLAIN = "plain"
    REGISTRY = "registry"


class EventEncoding(StrEnum):
    """Encoding of the events: JSON alone, or JSON or Avro in Confluent's wire format."""

    JSON = "json"
    JSON_SCHEMA = "json-schema"
    AVRO = "avro"

    @property
    def content_type(self) -> str:
        """Media type of the event behind the id of its schema."""
        return "application/avro" if self is EventEncoding.AVRO else "application/json"


class Inference(StrEnum):
    """Place of the model: a Triton server, vLLM's own server, or this process."""

    TRITON = "triton"
    VLLM = "vllm"
    IN_PROCESS = "in-process"


class Delivery(StrEnum):
    """Promise about outcomes: each at least once, or exactly once for readers of committed transactions."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class SecurityProtocol(StrEnum):
    """Protection of the connections to Kafka, as Kafka names it."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Take librdkafka's spelling, in small letters."""
        return cls.__members__.get(str(value).upper())

    @property
    def encrypted(self) -> bool:
        """True if connections are encrypted, and the broker's certificate is checked."""
        return self.endswith("SSL")

    @property
    def login(self) -> bool:
        """True if this program logs in with SASL."""
        return self.startswith("SASL")


class SaslMechanism(StrEnum):
    """Kind of login at Kafka."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class LogLevel(StrEnum):
    """The least severe log lines to write."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

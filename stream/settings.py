"""The one place that reads the environment: ``PADELLM_<NAME>`` for every field below, and ``BROKER``."""

import json
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from platformdirs import user_cache_path
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stream.contract.messages import Policy
from stream.contract.pointers import Pointer
from stream.offsets import OffsetUnit

PREFIX = "PADELLM_"
# Variables that docker-compose.yml and the files laid over it read themselves: ports, sizes and folders.
COMPOSE_VARIABLES = frozenset(
    {
        "PADELLM_ENGINE_DIR",
        "PADELLM_GPU_HOST_MEMORY",
        "PADELLM_HEALTH_PORTS",
        "PADELLM_KAFKA_HEAP",
        "PADELLM_KAFKA_PORT",
        "PADELLM_MODEL_DIR",
        "PADELLM_PARTITIONS",
        "PADELLM_TRITON_PORT",
    }
)
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/,\[\]]+):[0-9]{1,5}")


def user_cache_folder() -> Path:
    """``PADELLM_CACHE_DIR``, or else ``padellm`` in the user's cache folder, as the system has it."""
    return Path(os.environ.get("PADELLM_CACHE_DIR") or user_cache_path("padellm", appauthor=False))


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        raise ValueError("a topic's name has letters, digits, '.', '_' and '-', at most 249 of them")
    return name


def _address(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise ValueError("expected host:port, without a scheme such as http://")
    return text


def _addresses(text: str) -> str:
    for one in text.split(","):
        _address(one.strip())
    return text


_SAME_TOPIC = {
    ("documents_topic", "entities_topic"): "every event would be read as a document",
    ("documents_topic", "dead_letters_topic"): "every dead letter would be read as a document, without end",
    ("entities_topic", "dead_letters_topic"): "events and dead letters could not be told apart",
}

Topic = Annotated[str, AfterValidator(_topic)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _list(given: Any) -> Any:
    """The items of a variable: separated by commas, or a JSON list where an item has a comma itself."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text.startswith("["):
        return json.loads(text)
    return [item.strip() for item in text.split(",")] if text else []


def as_variable(items: Sequence[str]) -> str:
    """The items of a setting as its variable has them."""
    return json.dumps(list(items)) if any("," in item for item in items) else ",".join(items)


Pointers = Annotated[
    tuple[Pointer, ...],
    NoDecode,
    BeforeValidator(_list),
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


class Inference(StrEnum):
    """Place of the model: a Triton server, or this process."""

    TRITON = "triton"
    IN_PROCESS = "in-process"


class Delivery(StrEnum):
    """Promise about outcomes: each at least once, or exactly once for readers of committed transactions."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


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
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, populate_by_name=True, extra="ignore"
    )

    broker: Annotated[str, AfterValidator(_addresses)] = Field(
        default="127.0.0.1:9092",
        validation_alias=AliasChoices("PADELLM_BROKER", "BROKER"),
        description="Kafka bootstrap servers, host:port, separated by commas.",
    )
    group: str = Field(
        default="padellm", description="Consumer group; workers of one group share the partitions."
    )
    documents_topic: Topic = Field(default="documents", description="Topic of the documents.")
    entities_topic: Topic = Field(default="entities", description="Topic of the entity events.")
    dead_letters_topic: Topic = Field(
        default="documents.dead-letters", description="Topic of the records that cannot become an event."
    )
    spring_headers: bool = Field(
        default=False, description="Write Spring's headers (`kafka_dlt-*`) on dead letters, beside Kafka's."
    )
    max_message_bytes: int = Field(
        default=67_108_864,
        ge=1024,
        description="Largest Kafka message produced or fetched; topics are created with it.",
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

    inference: Inference = Field(default=Inference.TRITON, description="triton or in-process.")
    model: Path | None = Field(
        default=None,
        description="Model folder (Hugging Face layout), padellm-small-en (the default) or padellm-small-zh.",
    )
    triton_url: Annotated[str, AfterValidator(_address)] = Field(
        default="127.0.0.1:8001", description="Triton's gRPC address, host:port."
    )
    triton_in_flight: int = Field(default=256, ge=1, description="Concurrent requests to Triton.")
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
    log_level: LogLevel = Field(default=LogLevel.INFO, description="debug, info, warning or error.")
    cache_dir: Path = Field(
        default_factory=user_cache_folder,
        description="Folder for the embedded Kafka's jars and the CPU engine's graphs.",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        for (one, other), harm in _SAME_TOPIC.items():
            first, second = getattr(self, one), getattr(self, other)
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


_POINTERS = (
    "text_pointers",
    "optional_text_pointers",
    "id_pointer",
    "labels_pointer",
    "metadata_pointers",
    "carry_all_fields",
)


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
    return f"{set_variable(field) or variables(field)[0]}={error['input']}: {reason}"

"""The one place that reads the environment: ``PADELLM_<NAME>`` for every field below, and ``BROKER``."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from stream.contract.messages import Policy

PositiveSeconds = Annotated[float, Field(gt=0)]


def _user_cache() -> Path:
    """``$XDG_CACHE_HOME/padellm``, by default ``~/.cache/padellm``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "padellm"


class Inference(StrEnum):
    """Where the model runs: in a Triton server, or inside this process."""

    TRITON = "triton"
    IN_PROCESS = "in-process"


class EventsPer(StrEnum):
    """How many events a document becomes: one with all its entities, or one per entity."""

    DOCUMENT = "document"
    ENTITY = "entity"


class Settings(BaseSettings):
    """Effective settings, fixed for the life of a process.

    Raises:
        pydantic.ValidationError: A variable holds a value its field does not take; the command line turns it
            into a message that names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="PADELLM_", frozen=True, populate_by_name=True, extra="ignore"
    )

    broker: str = Field(
        default="127.0.0.1:9092",
        validation_alias=AliasChoices("PADELLM_BROKER", "BROKER"),
        description="Kafka bootstrap servers, host:port, separated by commas.",
    )
    group: str = Field(
        default="padellm", description="Consumer group; workers of one group share the partitions."
    )
    documents_topic: str = Field(default="documents", description="Topic the documents come from.")
    entities_topic: str = Field(default="entities", description="Topic the entity events go to.")
    dead_letters_topic: str = Field(
        default="documents.dead-letters", description="Topic for what cannot become an event."
    )

    inference: Inference = Field(default=Inference.TRITON, description="triton or in-process.")
    model: Path | None = Field(
        default=None,
        description="Model folder (Hugging Face layout), padellm-small-en (the default) or padellm-small-zh.",
    )
    triton_url: str = Field(default="127.0.0.1:8001", description="Triton's gRPC address, host:port.")
    triton_model: str = Field(default="tensorrt_llm", description="Model name in Triton.")
    triton_in_flight: int = Field(default=256, ge=1, description="Requests to Triton at once.")
    triton_call_deadline: PositiveSeconds = Field(
        default=30.0, description="Seconds one Triton call may take."
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="Consecutive failures that open the circuit breaker."
    )
    breaker_pause: PositiveSeconds = Field(
        default=2.0, description="Seconds the breaker stays open before a probe."
    )
    engine_threads: int = Field(default=2, ge=1, description="Threads of the CPU engine.")
    grounded: bool = Field(
        default=False, description="Hold mentions to pieces of the text while they are decoded (CPU engine)."
    )

    int8: bool = Field(
        default=False,
        description="Multiply in 8-bit integers: faster, and no longer exact (CPU engine).",
    )

    window: int = Field(default=64, ge=1, description="Documents in flight per worker.")
    document_deadline: PositiveSeconds = Field(
        default=120.0,
        description="Seconds of model time a document may take, as much again for every 20,000 characters; "
        "outages do not count. Beyond it is a dead letter.",
    )
    drain_limit: PositiveSeconds = Field(
        default=20.0, description="Seconds documents in flight get at shutdown or rebalance."
    )
    events_per: EventsPer = Field(default=EventsPer.DOCUMENT, description="document or entity.")

    policy: Policy = Field(default=Policy.PAPER, description="De-duplication when the document names none.")
    threshold: float = Field(
        default=0.0, ge=0, le=1, description="Lowest entity score when the document names none."
    )
    max_text_characters: int = Field(default=1_000_000, ge=1, description="Longest text, in code points.")
    max_labels: int = Field(default=64, ge=1, description="Most labels a document may ask for.")
    max_label_characters: int = Field(default=256, ge=1, description="Longest label or definition.")
    max_metadata_bytes: int = Field(default=65_536, ge=0, description="Largest metadata, as JSON.")
    max_message_bytes: int = Field(
        default=67_108_864,
        ge=1024,
        description="Largest Kafka message produced or fetched; topics are created with it.",
    )

    health_host: str = Field(default="127.0.0.1", description="Address of /livez, /readyz and /metrics.")
    health_port: int = Field(
        default=8088, ge=0, le=65_535, description="Port of the same; 0 picks a free one."
    )
    stall_limit: PositiveSeconds = Field(
        default=180.0,
        description="Seconds without progress, with documents waiting, after which the worker is not alive.",
    )
    cache_dir: Path = Field(
        default_factory=_user_cache, description="Where the embedded Kafka's jars are kept."
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")

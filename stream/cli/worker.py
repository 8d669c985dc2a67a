"""``padellm worker``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stream.settings import Inference, Settings


def worker(
    inference: Annotated[
        Inference | None, typer.Option(help="Run the model in Triton, or in this process; default: triton.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder, Hugging Face layout; default: the bundled model."),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Kafka bootstrap servers; default: 127.0.0.1:9092.")
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(help="Port of /livez, /readyz, /metrics and /version, 0 for a free one; default: 8088."),
    ] = None,
) -> None:
    """Run one worker: documents in, entity events out.

    It logs JSON to stderr. SIGTERM or Ctrl-C stops it after the documents in flight. Every setting can also
    be given as PADELLM_<NAME>; `padellm config` lists them.

    Example: padellm worker --inference in-process

    Example: BROKER=broker:9092 PADELLM_TRITON_URL=triton:8001 padellm worker
    """
    from stream.worker.app import run

    options: dict[str, Any] = {
        "inference": inference,
        "model": model,
        "broker": broker,
        "health_port": health_port,
    }
    run(Settings(**{name: value for name, value in options.items() if value is not None}))

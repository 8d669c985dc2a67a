"""``padellm sizing``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

GIB = 1024**3


class Dtype(StrEnum):
    """Type of weights and KV cache on the GPU."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FP8 = "fp8"


def sizing(
    model: Annotated[Path | None, typer.Argument(help="Model folder. [default: the settings' model]")] = None,
    gpu_gib: Annotated[float, typer.Option(min=0.1, help="Memory of the GPU, in GiB.")] = 24.0,
    share: Annotated[float, typer.Option(min=0.05, max=1.0, help="Of it that the server may take.")] = 0.9,
    dtype: Annotated[Dtype | None, typer.Option(help="[default: the checkpoint's own]")] = None,
) -> None:
    """Show whether a model fits a GPU, and how many documents at once.

    The workspace of the engine is taken to be 2 GiB; a document to be its text's tokens, and 48 more for each
    of 16 prompts.

    Example: padellm sizing /path/to/model --gpu-gib 80
    """
    from stream.bundled import model_folder
    from stream.doctor.sizing import DOCUMENT_BRANCHES, model_memory
    from stream.ner.config import NerConfig
    from stream.settings import Settings

    folder = model_folder(model or Settings().model)
    memory = model_memory(folder, dtype)
    tokens = memory.tokens(int(gpu_gib * GIB), share)
    document = NerConfig.load(folder).window.tokens + DOCUMENT_BRANCHES
    typer.echo(f"weights            {memory.weights / GIB:.2f} GiB")
    typer.echo(f"KV cache, a token  {memory.kv_per_token / 1024:.0f} KiB")
    typer.echo(f"KV cache in all    {tokens} tokens of {gpu_gib:g} GiB")
    typer.echo(f"documents at once  {tokens // document} (of {document} tokens)")
    if tokens < document:
        typer.echo("It does not fit: take a larger GPU or a smaller type.", err=True)
        raise typer.Exit(1)

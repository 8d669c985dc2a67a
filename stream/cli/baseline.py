"""``padellm baseline``."""

import asyncio
import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.evaluation.baselines import BaselineEvaluation


def baseline(  # noqa: PLR0917 - the command line passes names
    model: Annotated[Path, typer.Option(help="Checkpoint of `padellm train --format`.")],
    data: Annotated[Path, typer.Option(help="Annotated documents, JSONL or JSONL.gz.")],
    policy: Annotated[
        Policy | None,
        typer.Option(help="What is kept when entities compete. [default: paper for onestep, else multi]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first documents.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these of the file's labels: PER,LOC.")] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Documents at once: 1 measures latency, more measure throughput.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a baseline as `padellm evaluate` scores a model of ours: AutoReg_Struct, AutoReg_Aug or OneStep.

    It is decoded greedily by the same engine, drafts off. For ours beside it, see padellm evaluate.

    Example: padellm baseline --model runs/recipe-autoreg_struct/checkpoint --data dev.jsonl.gz
    """
    documents = list(islice(read_documents(data), limit))
    inventory = label_inventory(read_documents(data))
    asked = [name.strip() for name in labels.split(",")] if labels else inventory
    unknown = [name for name in asked if name not in inventory]
    if unknown or not asked:
        known = ", ".join(inventory) or "none"
        raise ConfigurationError(f"{data} has no label {', '.join(unknown) or 'at all'}; it has {known}")
    result = asyncio.run(_evaluate(model, documents, asked, policy, in_flight))
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        _show(result)


async def _evaluate(
    model: Path, documents: list[AnnotatedDocument], labels: list[str], policy: Policy | None, in_flight: int
) -> BaselineEvaluation:
    from rich.console import Console
    from rich.progress import track

    from stream.evaluation.baselines import evaluate_baseline
    from stream.settings import Settings

    return await evaluate_baseline(
        model,
        track(documents, "documents", console=Console(stderr=True), transient=True),
        labels,
        policy=policy,
        threads=Settings().engine_threads,
        in_flight=in_flight,
    )


def _show(result: BaselineEvaluation) -> None:
    scores, figures = result.evaluation, result.as_dict()
    for label, score in (*scores.by_label.items(), ("all", scores.score)):
        typer.echo(
            f"{label:<20}F1 {100 * score.f1:6.2f}   precision {100 * score.precision:6.2f}   "
            f"recall {100 * score.recall:6.2f}   gold {score.right + score.missed}"
        )
    typer.echo(
        f"\n{result.format}, policy {result.policy}: {figures['documents']} documents, "
        f"{figures['passes_per_document']} passes and {figures['ms_per_document']} ms a document"
    )

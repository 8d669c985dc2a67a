"""``padellm evaluate``."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError


def evaluate(  # noqa: PLR0917 - the command line passes names
    data: Annotated[Path, typer.Option(help="Annotated documents, JSONL or JSONL.gz.")],
    model: Annotated[
        Path | None, typer.Option(help="Model folder, or the name of a bundled one; default: English.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score what another system predicted: JSONL, or a result file of the authors."),
    ] = None,
    policy: Annotated[Policy, typer.Option(help="What is kept when entities compete.")] = Policy.PAPER,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first documents.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these of the file's labels: PER,LOC.")] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Documents at once: 1 measures latency, more measure throughput.")
    ] = 1,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Fit a temperature for every label to one half of the documents, measure it on the other, "
            "and store it in the model folder.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write report.json and report.html: all policies, what wrong counts cost, the worst errors. "
            "Takes about four times as long.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a model, or a file of predictions: micro-F1, and by place exact, partial and type scores.

    A line of the data is {"id", "text", "entities": [{"start", "end", "text", "label"}]}. Unless --labels
    names some of them, all labels of the file are asked for in every document. What each figure means is in
    docs/evaluation.md.

    Example: padellm evaluate --data dev.jsonl.gz --report evaluation

    Example: padellm evaluate --data dev.jsonl.gz --predictions theirs.jsonl --json
    """
    from stream.cli.evaluate_view import show
    from stream.evaluation.report import figures
    from stream.evaluation.report_page import ReportFolder
    from stream.evaluation.task import Task, evaluate_model, evaluate_predictions

    if predictions and (model or calibrate):
        raise ConfigurationError(
            "--predictions takes the place of a model: leave out --model and --calibrate"
        )
    folder = ReportFolder.make(report) if report else None
    documents = list(read_documents(data))
    task = Task(
        data,
        documents,
        _labels(data, documents, labels),
        named=labels is not None,
        policy=policy,
        limit=limit,
        in_flight=in_flight,
        analyse=folder is not None,
    )
    if predictions:
        found = evaluate_predictions(task, predictions)
    else:
        found = asyncio.run(evaluate_model(task, model, calibrate=calibrate))
    if folder:
        folder.write(found)
    if as_json:
        typer.echo(json.dumps(figures(found)))
    else:
        show(found)


def _labels(data: Path, documents: Sequence[AnnotatedDocument], wanted: str | None) -> list[str]:
    """The whole file's labels, whatever the limit, so that parts compare; or those wanted of them."""
    inventory = label_inventory(documents)
    if not inventory:
        raise ConfigurationError(f"{data} holds no document with entities, so there is nothing to score")
    if wanted is None:
        return inventory
    names = [name.strip() for name in wanted.split(",")]
    unknown = [name for name in names if name not in inventory]
    if unknown:
        raise ConfigurationError(f"{data} has no label {', '.join(unknown)}; it has {', '.join(inventory)}")
    return names

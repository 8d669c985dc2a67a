"""``padellm evaluate``."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.labels import parse_names
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError


def evaluate(  # noqa: PLR0917 - the command line passes names
    data: Annotated[Path, typer.Option(help="Annotated documents, JSONL or JSONL.gz.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder, a baseline's too, or the name of a bundled one; default: English."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score another system's predictions: JSONL, or a result file of the authors."),
    ] = None,
    policy: Annotated[
        Policy | None,
        typer.Option(
            help="What is kept when entities compete. [default: paper, and multi for a baseline that answers "
            "all labels at once]"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first documents.")] = None,
    labels: Annotated[
        str | None, typer.Option(help='Only these of the file\'s labels: PER,LOC or ["PER", "LOC"].')
    ] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Documents at once: 1 measures latency, more measure throughput.")
    ] = 1,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Fit Platt scaling for every label to one half of the documents, measure it on the other, "
            "and store it in the folder that --model names.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write report.json and report.html: all policies, wrong counts, the worst errors. "
            "Takes about four times as long.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a model, or a file of predictions: micro-F1, and by place exact, partial and type scores.

    A line of the data is {"id", "text", "entities": [{"start", "end", "text", "label"}]}. Unless --labels
    names some of them, all labels of the file are asked for in every document. docs/evaluation.md explains
    every figure. A baseline is a checkpoint of `padellm train --format`: AutoReg_Struct, AutoReg_Aug or
    OneStep, which the engine decodes greedily, without drafts.

    Example: padellm evaluate --data dev.jsonl.gz --report evaluation

    Example: padellm evaluate --data dev.jsonl.gz --predictions theirs.jsonl --json

    Example: padellm evaluate --data dev.jsonl.gz --model runs/recipe-autoreg_struct/checkpoint
    """
    from stream.cli.evaluate_view import show
    from stream.evaluation.output_folder import OutputFolder
    from stream.evaluation.report import figures, whole
    from stream.evaluation.task import Task, evaluate_model, evaluate_predictions

    if predictions and (model or calibrate):
        raise ConfigurationError(
            "--predictions takes the place of a model: leave out --model and --calibrate"
        )
    folder = None
    if report:
        # Imported before anything is computed that would be lost without what it needs.
        from stream.evaluation.report_page import as_page

        folder = OutputFolder.make(report)
    documents = list(read_documents(data))
    task = Task(
        data,
        documents,
        _labels(data, documents, parse_names(labels)),
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
        content = json.dumps(whole(found), indent=2, ensure_ascii=False) + "\n"
        folder.write({"report.json": content, "report.html": as_page(found)})
    if as_json:
        typer.echo(json.dumps(figures(found)))
    else:
        show(found)


def _labels(data: Path, documents: Sequence[AnnotatedDocument], wanted: list[str] | None) -> list[str]:
    """The whole file's labels, whatever the limit, so that parts compare; or those wanted of them."""
    inventory = label_inventory(documents)
    if not inventory:
        raise ConfigurationError(f"{data} holds no document with entities, so there is nothing to score")
    if wanted is None:
        return inventory
    unknown = [name for name in wanted if name not in inventory]
    if unknown:
        raise ConfigurationError(f"{data} has no label {', '.join(unknown)}; it has {', '.join(inventory)}")
    return wanted

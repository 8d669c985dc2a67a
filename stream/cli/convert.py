"""``padellm convert``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.labels import parse_names
from stream.corpora.conversion import Conversion, ConversionReport
from stream.corpora.formats import FORMATS, format_named, format_of
from stream.corpora.parsing import Discontinuous, Nested, Options
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit

_NAMES = ", ".join(FORMATS)


def convert(  # noqa: PLR0917 - the command line passes names
    source: Annotated[Path, typer.Argument(metavar="IN", help="File to read; for brat a folder.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; for brat a folder.")],
    from_format: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help=f"Of IN, else by its ending: {_NAMES}."),
    ] = None,
    to_format: Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="Of OUT; the same.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN,TAG",
            help="Of IN in columns: the token's and the tag's, counted from 1, as in 2,3 for GermEval; more "
            "of tags for entities within others. Default: the first and the last.",
        ),
    ] = None,
    offsets: Annotated[
        OffsetUnit | None,
        typer.Option(
            help="Unit of IN's offsets (jsonl, doccano, brat). Default: code points; an entity that makes "
            "sense in UTF-16 units alone is bad."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help='All labels allowed: PER,LOC or ["PER", "LOC"]; a document with another is bad.'),
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
        bool, typer.Option("--skip-bad", help="Leave out bad documents, and report each with its reason.")
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

    Example: padellm convert NER-de-train.tsv train.jsonl --from conll --columns 2,3
    """
    conversion = Conversion(
        source=format_named(from_format) if from_format else format_of(source, "--from"),
        target=format_named(to_format) if to_format else format_of(target, "--to"),
        options=Options(
            cjk=cjk,
            split_punctuation=split_punctuation,
            discontinuous=discontinuous,
            offsets=offsets,
            columns=_columns(columns),
        ),
        nested=nested,
        labels=parse_names(labels),
        skip_bad=skip_bad,
    )
    report = conversion.run(source, target)
    for problem in report.problems:
        typer.echo(str(problem), err=True)
    if report.nested:
        typer.echo(f"{report.nested} entities within others were left out", err=True)
    if as_json:
        typer.echo(json.dumps(_summary(report), ensure_ascii=False))
    else:
        by_label = ", ".join(f"{label} {count}" for label, count in report.labels.items())
        typer.echo(
            f"{target}: {report.documents} documents, {report.entities} entities"
            f"{f' ({by_label})' if by_label else ''}; {report.skipped} documents skipped"
        )


def _columns(option: str | None) -> tuple[int, ...] | None:
    if option is None:
        return None
    columns = tuple(int(each) if each.strip().isdecimal() else 0 for each in option.split(","))
    if len(columns) < len(("token", "tag")) or min(columns) < 1:
        raise ConfigurationError(
            f"--columns {option}: give the token's column and then the tag's, counted from 1, as in 2,3"
        )
    return columns


def _summary(report: ConversionReport) -> dict[str, Any]:
    return {
        "documents": report.documents,
        "entities": report.entities,
        "labels": dict(report.labels),
        "skipped": report.skipped,
        "problems": [
            {"file": str(problem.place.file), "line": problem.place.line, "reason": problem.reason}
            for problem in report.problems
        ],
    }

"""``padellm extract``."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from stream.bench.decoding import Decoding
from stream.cli.labels import checked, parse_labels
from stream.contract.messages import Document, Policy
from stream.contract.rules import check_text
from stream.corpora.files import BYTE_ORDER_MARK
from stream.errors import ConfigurationError
from stream.ner.extractor import Extraction
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.bench.fixings import Fixing
    from stream.engine.trace import PassTrace
    from stream.passes import Step


def extract(  # noqa: PLR0917 - the command line passes names
    text: Annotated[str, typer.Argument(help="The text; - reads it from stdin.")],
    labels: Annotated[
        str | None,
        typer.Option(help='Entity types, PER,LOC or {"PER": "definition"}; default: the model\'s own.'),
    ] = None,
    policy: Annotated[Policy | None, typer.Option(help="De-duplication of competing entities.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score of an entity.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder, or the name of a bundled one; default: English.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show every forward pass: tokens prefilled, drafted and accepted."),
    ] = False,
    strategy: Annotated[
        Decoding, typer.Option(help="Decoding method; all but lud give the same answers.")
    ] = Decoding.DRAFTS,
    html: Annotated[
        Path | None, typer.Option(help="Write this explanation as one HTML page into a file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find the entities of a text in this process, without a broker.

    Example: padellm extract "Angela Merkel visited Paris." --labels person,location

    Example: curl -s https://example.org/article.txt | padellm extract - --json

    Example: padellm extract "Angela Merkel visited Paris." --explain --html decode.html

    Example: padellm extract "Angela Merkel visited Paris." --explain --strategy jacobi
    """
    text = (_stdin() if text == "-" else text).removeprefix(BYTE_ORDER_MARK)
    check_text(text, most=Settings().max_text_characters)
    document = _document(
        text=text,
        labels=checked(parse_labels(labels)),
        policy=policy,
        threshold=threshold,
    )
    if explain or html is not None:
        extraction, steps, known = asyncio.run(_extract_and_explain(document, model, strategy))
        if html is not None:
            _write_page(html, document.text, extraction, steps, known)
        if explain:
            _show_steps(steps, known, to_stderr=as_json)
    else:
        extraction = asyncio.run(_extract(document, model, strategy))
    if as_json:
        typer.echo(as_json_line(extraction))
    else:
        _show(document.text, extraction)


def as_json_line(extraction: Extraction) -> str:
    """An extraction as one line of JSON."""
    content = TypeAdapter(Extraction).dump_python(extraction, mode="json")
    return json.dumps(content, ensure_ascii=False)


async def _extract(document: Document, model: Path | None, strategy: Decoding) -> Extraction:
    from stream.api import loaded
    from stream.bench.parallel_decoding import open_decoder

    async with loaded(model, open_decoder=partial(open_decoder, strategy)) as opened:
        return await opened.extractor.extract(document)


async def _extract_and_explain(
    document: Document, model: Path | None, strategy: Decoding
) -> "tuple[Extraction, list[Step], list[Fixing]]":
    from stream.api import loaded
    from stream.bench.fixings import fixings
    from stream.bench.parallel_decoding import open_decoder
    from stream.passes import explain as tell

    passes: list[PassTrace] = []
    open_method = partial(open_decoder, strategy)
    async with loaded(model, on_pass=passes.append, open_decoder=open_method) as opened:
        extraction = await opened.extractor.extract(document)
        return extraction, tell(passes, opened.template), fixings(passes, opened.template)


def _show_steps(steps: "list[Step]", known: "list[Fixing]", *, to_stderr: bool) -> None:
    from rich.console import Console

    from stream.cli.explain_view import show_fixings, show_steps

    console = Console(stderr=to_stderr, soft_wrap=True)
    show_steps(console, steps)
    console.print()
    show_fixings(console, known)


def _write_page(
    file: Path, text: str, extraction: Extraction, steps: "list[Step]", known: "list[Fixing]"
) -> None:
    from stream.cli.explain_view import as_page

    try:
        file.write_text(as_page(text, extraction, steps, known), "utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html {file} cannot be written: {error.strerror}") from error


def _document(**fields: Any) -> Document:
    try:
        return Document(**fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)
        )
        raise ConfigurationError(f"no text to extract from, or a wrong option: {problems}") from error


def _stdin() -> str:
    """Standard input without its last line end, so that a line is the same text as in ``padellm produce``."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"stdin is not UTF-8 (byte {error.start + 1})") from error


def _show(text: str, extraction: Extraction) -> None:
    from rich.console import Console
    from rich.table import Table

    from stream.cli.highlight import highlight, label_colour, printable

    console = Console()
    lines = "\n".join(map(printable, text.split("\n")))
    console.print(highlight(lines, extraction.entities), soft_wrap=True)
    console.print()
    if not extraction.entities:
        console.print(f"No entities among {', '.join(extraction.labels)}.", style="dim", markup=False)
        return
    table = Table(
        "Entity", "Label", "Characters", "Score", box=None, header_style="bold", padding=(0, 2, 0, 0)
    )
    for entity in extraction.entities:
        style = label_colour(entity.label)
        table.add_row(
            f"[{style}]{_plain(printable(entity.text))}[/]",
            _plain(printable(entity.label)),
            f"{entity.start}-{entity.end}",
            f"{entity.score:.2f}",
        )
    console.print(table)


def _plain(text: str) -> str:
    """Text that a table shows as it is, brackets and all."""
    from rich.markup import escape

    return escape(text)

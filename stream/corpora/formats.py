"""Every format that annotated documents are read from and written to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stream.corpora import brat, conll, doccano, gliner, jsonl, padellm, spacy_docs, tokens
from stream.corpora.document import AnnotatedDocument
from stream.corpora.parsing import Options, ParsedDocument
from stream.corpora.tokens import Scheme
from stream.errors import ConfigurationError


def _none(_document: AnnotatedDocument, _options: Options) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Format:
    """A file format of annotated documents.

    Attributes:
        name: The name on the command line.
        about: A description in a few words.
        read: Reads a file, or a folder for brat.
        write: Writes documents that have no obstacles.
        obstacles: Gives the reasons why the format cannot hold a document, overlap aside.
        overlap: Whether entities may overlap.
        endings: Endings of files that hold nothing else.
        heeds: Names of the ``Options`` that change how a file is read, where few formats have them.
    """

    name: str
    about: str
    read: Callable[[Path, Options], Iterator[ParsedDocument]]
    write: Callable[[Sequence[AnnotatedDocument], Path, Options], None]
    obstacles: Callable[[AnnotatedDocument, Options], list[str]] = _none
    overlap: bool = True
    endings: tuple[str, ...] = ()
    heeds: tuple[str, ...] = ()


def _columns(name: str, about: str, scheme: Scheme, endings: tuple[str, ...], *, told: bool = True) -> Format:
    return Format(
        name,
        about,
        partial(conll.read, scheme=scheme if told else None),
        partial(conll.write, scheme=scheme),
        conll.obstacles,
        overlap=False,
        endings=endings,
        heeds=("columns",),
    )


FORMATS = {
    each.name: each
    for each in (
        Format(
            "jsonl",
            "our own JSON Lines",
            jsonl.read,
            jsonl.write,
            endings=(".jsonl",),
            heeds=("offsets",),
        ),
        _columns(
            "conll", "columns, tags by their letters; writes IOB2", Scheme.IOB2, (".conll",), told=False
        ),
        _columns("iob1", "columns, IOB1", Scheme.IOB1, (".iob1",)),
        _columns("iob2", "columns, IOB2 or BIO", Scheme.IOB2, (".iob2", ".bio")),
        _columns("bioes", "columns, BIOES", Scheme.BIOES, (".bioes", ".iobes")),
        _columns("bilou", "columns, BILOU", Scheme.BILOU, (".bilou",)),
        Format("spacy", "spaCy's DocBin", spacy_docs.read, spacy_docs.write, endings=(".spacy",)),
        Format("gliner", "GLiNER's JSON", gliner.read, gliner.write, tokens.obstacles),
        Format("doccano", "doccano's JSON Lines", doccano.read, doccano.write, heeds=("offsets",)),
        Format(
            "brat",
            "brat standoff, a folder",
            brat.read,
            brat.write,
            brat.obstacles,
            endings=(".ann",),
            heeds=("offsets",),
        ),
        Format("padellm", "the data files of the paper's authors", padellm.read, padellm.write),
    )
}

_OTHER_NAMES = {"bio": "iob2", "iobes": "bioes"}


def format_named(name: str) -> Format:
    """The format that a person calls so, in any case.

    Raises:
        ConfigurationError: There is none.
    """
    plain = name.lower()
    found = FORMATS.get(_OTHER_NAMES.get(plain, plain))
    if found is None:
        raise ConfigurationError(f"there is no format {name}; there are {', '.join(FORMATS)}")
    return found


def format_of(path: Path, option: str) -> Format:
    """The format that a file's ending tells; a folder is brat's.

    Args:
        path: The file, which need not be there.
        option: What a person can say instead, for the message.

    Raises:
        ConfigurationError: The ending may mean several formats, or none.
    """
    if path.is_dir():
        return FORMATS["brat"]
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    found = next((each for each in FORMATS.values() if ending in each.endings), None)
    if found is None:
        raise ConfigurationError(
            f"the ending of {path} does not tell its format: say {option} and one of {', '.join(FORMATS)}"
        )
    return found

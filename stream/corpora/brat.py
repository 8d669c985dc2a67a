"""brat standoff: a text in ``NAME.txt``, its annotation in ``NAME.ann`` beside it.

Of the annotation, text-bound lines are read (``T1<tab>Label 0 5<tab>mention``). Relations, events,
attributes, equivalences, normalisations and notes are no entities and are passed over. An entity in several
pieces (``0 5;8 12``) is refused, joined or cut to its first piece, as ``Options.discontinuous`` says; pieces
with nothing but white space between them are one entity, since brat parts what goes over a line end.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

from stream.corpora.document import AnnotatedDocument
from stream.corpora.files import BYTE_ORDER_MARK, read_text, write_text
from stream.corpora.reading import DEFAULTS, Discontinuous, Draft, Options, Place, Reading, quoted, rejected
from stream.errors import ConfigurationError

_TEXT_BOUND = re.compile(r"T\S*\t(\S+) (\d{1,18} \d{1,18}(?:;\d{1,18} \d{1,18})*)\t(.*)", re.DOTALL)
_PASSED_OVER = tuple("REAMN*#")
_ENDINGS = {".txt", ".ann"}
_LONGEST_NAME = 200


def read(path: Path, options: Options = DEFAULTS) -> Iterator[Reading]:
    """A reading of every ``.txt`` or ``.ann`` of a folder and those within it, sorted, or of one such file.

    An id is the file's name without its ending, within the folder.

    Raises:
        ConfigurationError: There is nothing to read, or a file is no text.
    """
    folder = path if path.is_dir() else path.parent
    found = path.rglob("*") if path.is_dir() else [path]
    stems = sorted({file.with_suffix("") for file in found if file.suffix in _ENDINGS})
    if not stems:
        raise ConfigurationError(f"{path} is neither a folder of .txt and .ann files nor one of them")
    for stem in stems:
        name = unquote(stem.relative_to(folder).as_posix())
        yield _reading(_beside(stem, ".txt"), _beside(stem, ".ann"), name, options)


def write(documents: Sequence[AnnotatedDocument], folder: Path, _options: Options = DEFAULTS) -> None:
    """Write two files for every document of which ``obstacles`` found none.

    They are named by the document's id, with ``%20`` and the like for what a file name should not hold, or by
    the document's number where it has no id.

    Raises:
        ConfigurationError: Two documents have one name, the folder holds files already or cannot be written.
    """
    if folder.suffix in _ENDINGS:
        raise ConfigurationError(f"{folder} is the name of a file, and brat needs a folder")
    names = [_file_name(document.id) or f"{n:06}" for n, document in enumerate(documents, start=1)]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ConfigurationError(
            f"{times} documents would be {folder / name}.txt: brat needs ids that differ"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigurationError(f"{folder} is not empty: brat takes every file in a folder for its own")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror or error}") from error
    for name, document in zip(names, documents, strict=True):
        write_text(folder / f"{name}.txt", document.text)
        write_text(folder / f"{name}.ann", _annotation(document))


def obstacles(document: AnnotatedDocument, _options: Options) -> list[str]:
    """Why brat cannot hold a document; empty when it can."""
    found = [
        f"label {quoted(label)} has white space in it, and brat's labels have none"
        for label in dict.fromkeys(entity.label for entity in document.entities)
        if re.search(r"\s", label)
    ]
    if len(_file_name(document.id)) > _LONGEST_NAME:
        found.append(f"id {quoted(document.id)} is too long for the name of a file")
    return found


def _beside(stem: Path, ending: str) -> Path:
    return stem.parent / f"{stem.name}{ending}"


def _file_name(name: str) -> str:
    quoted_name = quote(name, safe=" ")
    return re.sub(r"^\.", "%2E", quoted_name)


def _reading(text_file: Path, annotation_file: Path, name: str, options: Options) -> Reading:
    for file, other in ((text_file, annotation_file), (annotation_file, text_file)):
        if not file.is_file():
            return rejected(Place(other), f"there is no {file.name} beside it")
    text = read_text(text_file)
    annotation = read_text(annotation_file).removeprefix(BYTE_ORDER_MARK)
    draft = Draft(Place(annotation_file), text, name)
    for number, raw in enumerate(annotation.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if line.startswith("T"):
            _add(draft, text, line, Place(annotation_file, number), options)
        elif line.strip() and not line.startswith(_PASSED_OVER):
            draft.add_problem(f"{quoted(line)} is no line of brat's standoff", Place(annotation_file, number))
    return draft.reading()


def _add(draft: Draft, text: str, line: str, place: Place, options: Options) -> None:
    match = _TEXT_BOUND.fullmatch(line)
    if match is None:
        draft.add_problem(f"{quoted(line)} is not an id, a tab, a label and offsets, a tab, a mention", place)
        return
    label, offsets, mention = match.groups()
    pieces = [tuple(map(int, piece.split())) for piece in offsets.split(";")]
    (start, _), (_, end) = pieces[0], pieces[-1]
    shown = " ".join(text[first:last] for first, last in pieces)
    if _on_one_line(shown) != _on_one_line(mention):
        draft.add_problem(
            f"entity {quoted(mention)} is marked at {offsets}, where the text has {quoted(shown)} "
            "(offsets are code points)",
            place,
        )
        return
    gaps = [text[before[1] : after[0]] for before, after in pairwise(pieces)]
    if any(gap.strip() for gap in gaps):
        if options.discontinuous is Discontinuous.REFUSE:
            draft.add_problem(
                f"entity {quoted(mention)} is in {len(pieces)} pieces, {offsets}: join them or "
                "take the first (--discontinuous)",
                place,
            )
            return
        end = end if options.discontinuous is Discontinuous.JOIN else pieces[0][1]
    draft.add_entity(start, end, label, place=place)


def _on_one_line(text: str) -> str:
    return re.sub(r"\s", " ", text)


def _annotation(document: AnnotatedDocument) -> str:
    lines = (
        f"T{number}\t{entity.label} {entity.start} {entity.end}\t{_on_one_line(entity.text)}\n"
        for number, entity in enumerate(document.entities, start=1)
    )
    return "".join(lines)

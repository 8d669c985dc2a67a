"""Rules for documents beyond the types of their fields, for the worker and for every other entrance.

Lengths are in code points.
"""

from collections.abc import Iterable

from stream.contract.reasons import Reason
from stream.errors import BadDocument

MAX_ID_CHARACTERS = 512
MAX_LABEL_CHARACTERS = 256
MAX_METADATA_BYTES = 65_536
_SHOWN = 60


def check_text(text: str, *, most: int) -> None:
    """Check the text of a document.

    A text may hold any characters, control characters and NUL too, as long as one of them is not white space:
    offsets stay right whatever the text is made of.

    Args:
        text: The text; not empty.
        most: Longest text.

    Raises:
        BadDocument: It is blank or too long.
    """
    if text.isspace():
        raise BadDocument(Reason.TEXT_BLANK, f"the text is {len(text)} characters of white space only")
    if len(text) > most:
        raise BadDocument(
            Reason.TEXT_TOO_LONG,
            f"the text has {len(text):,} characters; at most {most:,} are read "
            "(PADELLM_MAX_TEXT_CHARACTERS); split the document",
        )


def check_label_count(count: int, *, most: int) -> None:
    """Check the number of labels of a document that names labels.

    Raises:
        BadDocument: There are none or too many.
    """
    if not count:
        raise BadDocument(
            Reason.LABELS_EMPTY, "labels is empty; leave it out to look for the model's default labels"
        )
    if count > most:
        raise BadDocument(
            Reason.LABELS_TOO_MANY,
            f"labels names {count:,} labels; at most {most} are taken (PADELLM_MAX_LABELS)",
        )


def check_labels(labels: list[str] | dict[str, str] | None, *, most: int) -> None:
    """Check the labels of a document: names, or name to definition; None is the model's own.

    Raises:
        BadDocument: There are none or too many, or one is blank, too long, or there twice.
    """
    if labels is None:
        return
    check_label_count(len(labels), most=most)
    _check_names(labels)
    if isinstance(labels, dict):
        for label, definition in labels.items():
            _check_length(definition, f"the definition of label {shown(label)}")


def shown(value: object) -> str:
    """A value as an error message shows it: quoted, ASCII, short."""
    text = ascii(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _check_names(labels: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        if not label.strip():
            raise BadDocument(Reason.LABEL_BLANK, f"the label {shown(label)} is blank; name what to look for")
        _check_length(label, f"the label {shown(label)}")
        folded = label.strip().casefold()
        if folded in seen:
            raise BadDocument(
                Reason.LABEL_DUPLICATE,
                f"labels names {shown(seen[folded])} and {shown(label)}, which are the same; give it once",
            )
        seen[folded] = label


def _check_length(text: str, name: str) -> None:
    if len(text) > MAX_LABEL_CHARACTERS:
        raise BadDocument(
            Reason.LABEL_TOO_LONG,
            f"{name} has {len(text):,} characters; at most {MAX_LABEL_CHARACTERS} are taken",
        )

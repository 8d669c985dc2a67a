"""Documents and their entities on a terminal, one line each."""

from collections.abc import Sequence

from rich.text import Text

from stream.cli.highlight import highlight, label_colour
from stream.messages import Entity

_LONGEST = 600
_JOINERS = "\u200c\u200d"  # hold emoji and some scripts together


def document_line(text: str, entities: Sequence[Entity]) -> Text:
    """A text with its entities highlighted; a long one is cut, and says how much is left out."""
    end = len(text)
    if end > _LONGEST:
        end = max(
            (entity.end for entity in entities if entity.start < _LONGEST <= entity.end), default=_LONGEST
        )
    shown = [entity for entity in entities if entity.end <= end]
    line = highlight(printable(text[:end]), shown)
    if end < len(text):
        line.append(
            f" ... ({len(text):,} characters, {len(entities) - len(shown)} more entities)", style="dim"
        )
    return line


def entities_line(entities: Sequence[Entity]) -> Text:
    """The entities alone, where the text is not at hand."""
    line = Text()
    for entity in entities:
        style = label_colour(entity.label)
        line.append("  " if line else "")
        line.append(printable(entity.text), style=f"bold {style}")
        line.append(f" {entity.label} {entity.start}-{entity.end}", style=f"dim {style}")
    return line or Text("no entities", style="dim")


def printable(text: str) -> str:
    """The text, character for character, on one line; nothing that is left in it can steer the terminal."""
    return "".join(" " if each.isspace() else each if _is_shown(each) else "\ufffd" for each in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in _JOINERS

"""Documents and their entities on a terminal, one line each."""

import zlib
from collections.abc import Mapping, Sequence

from rich.text import Text

from stream.contract.messages import Entity, EntityEvent
from stream.offsets import OffsetScale, OffsetUnit

# Readable on dark and light terminals; neighbours in the list differ clearly.
_COLOURS = (
    "cyan",
    "green",
    "magenta",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)

# With this seed the usual labels, person to miscellaneous and PER to MISC, differ in colour.
_SEED = 21


def highlight(text: str, entities: Sequence[Entity]) -> Text:
    """A text with its entities coloured, each followed by its label in brackets.

    Where entities overlap the shorter shows on top of the longer.
    """
    shown = Text(text)
    for entity in sorted(entities, key=lambda entity: entity.start - entity.end):
        shown.stylize(f"bold {label_colour(entity.label)}", entity.start, entity.end)
    pieces: list[Text] = []
    position = 0
    for entity in sorted(entities, key=lambda entity: (entity.end, -entity.start)):
        pieces.append(shown[position : entity.end])
        # A label may come from a stranger's document; none may steer the terminal.
        label = entity.label if entity.label.isprintable() else ascii(entity.label)
        pieces.append(Text(f" [{label}]", style=f"dim {label_colour(entity.label)}"))
        position = entity.end
    pieces.append(shown[position:])
    return Text.assemble(*pieces)


def label_colour(label: str) -> str:
    """A label's colour, the same in every run."""
    return _COLOURS[zlib.crc32(label.encode(), _SEED) % len(_COLOURS)]


def event_line(event: EntityEvent, texts: Mapping[str | None, str]) -> Text:
    """An event with its document's id; where the document has fields, a line for each under it.

    Args:
        event: The event.
        texts: Texts of the document by the pointers of their fields; none where they are not at hand.
    """
    lines = Text(f"{printable(event.document_id)}  ", style="dim")
    for pointer in event.fields or (None,):
        if pointer is not None:
            lines.append(f"\n  {printable(pointer)}  ", style="dim")
        found = [entity for entity in event.entities if entity.field == pointer]
        lines = Text.assemble(lines, _field_line(found, texts.get(pointer), event.offsets))
    return lines


def _field_line(entities: Sequence[Entity], text: str | None, unit: OffsetUnit | None) -> Text:
    """A text with its entities, or these alone where it is not the text that they were found in."""
    if not text:
        return entities_line(entities)
    scale = OffsetScale(text, unit or OffsetUnit.CODE_POINTS)
    try:
        placed = [
            entity.model_copy(
                update={"start": scale.code_points(entity.start), "end": scale.code_points(entity.end)}
            )
            for entity in entities
        ]
    except ValueError:
        return entities_line(entities)
    fits = all(text[each.start : each.end] == each.text for each in placed)
    return document_line(text, placed) if fits else entities_line(entities)


_LONGEST = 600
_JOINERS = "\u200c\u200d"  # hold emoji and some scripts together


def document_line(text: str, entities: Sequence[Entity]) -> Text:
    """A text with its entities highlighted; of a long one the beginning and the size of the rest."""
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
        line.append(f" {printable(entity.label)} {entity.start}-{entity.end}", style=f"dim {style}")
    return line or Text("no entities", style="dim")


def printable(text: str) -> str:
    """The text, character for character, on one line; nothing that is left in it can steer the terminal."""
    return "".join(" " if each.isspace() else each if _is_shown(each) else "\ufffd" for each in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in _JOINERS

"""Entities shown in their text, for people."""

import zlib
from collections.abc import Sequence

from rich.text import Text

from stream.messages import Entity

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

# With it the usual labels, person to miscellaneous and PER to MISC, differ in colour.
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

"""What a person can choose about reading and writing."""

from dataclasses import dataclass
from enum import StrEnum


class Nested(StrEnum):
    """What happens to entities that overlap."""

    KEEP = "keep"  # a document whose target format cannot hold them is bad
    OUTERMOST = "outermost"  # what lies within another entity is left out
    REFUSE = "refuse"  # a document with overlapping entities is bad


class Discontinuous(StrEnum):
    """What becomes of an entity in several pieces."""

    REFUSE = "refuse"  # its document is bad
    JOIN = "join"  # it reaches from its first piece to its last, with what lies between
    FIRST = "first"  # it is its first piece


@dataclass(frozen=True, slots=True)
class Options:
    """How formats are read and written that leave something open.

    Attributes:
        cjk: In formats of tokens, a Chinese or Japanese character is a token of its own, and no space stands
            beside it in a text that is put together from tokens.
        split_punctuation: In formats of tokens, punctuation at the edge of a word is a token of its own.
        discontinuous: Of brat, the one format that has entities in several pieces.
    """

    cjk: bool = False
    split_punctuation: bool = False
    discontinuous: Discontinuous = Discontinuous.REFUSE


DEFAULTS = Options()

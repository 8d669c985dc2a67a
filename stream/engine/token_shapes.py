"""What the tokens of a vocabulary look like, read once from tokenizer.json."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPACES = (" ", "▁")
_REST = "\ufffe"  # no character
_CONTINUATION_BYTES = {bytes([byte]) for byte in range(0x80, 0xC0)}  # of UTF-8


class Kind(IntEnum):
    """What a token begins with, white space aside."""

    CONTROL = 0
    CAPITAL = 1
    UPPER = 2  # two capitals or more, and nothing else
    LOWER = 3
    DIGIT = 4
    MARK = 5
    CASELESS = 6
    PART = 7  # the rest of a letter that several tokens make up


@dataclass(frozen=True, slots=True)
class TokenShapes:
    """Shapes of V token ids.

    Attributes:
        kinds: (V), a ``Kind`` each.
        spaced: (V), whether white space stands before the token.
        controls: The control tokens.
    """

    kinds: NDArray[np.int64]
    spaced: NDArray[np.bool_]
    controls: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        controls = frozenset(np.flatnonzero(self.kinds == Kind.CONTROL).tolist())
        object.__setattr__(self, "controls", controls)

    @classmethod
    def load(cls, folder: Path, vocabulary: int) -> "TokenShapes":
        """Read a model folder's tokenizer; ids that it does not explain count as letters without case."""
        kinds = np.full(vocabulary, Kind.CASELESS, np.int64)
        spaced = np.zeros(vocabulary, np.bool_)
        try:
            tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
            pieces = list(_pieces(tokenizer))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Shapes make drafts better; answers need none.
            return cls(kinds, spaced)
        for token, piece in pieces:
            if token < vocabulary:
                spaced[token] = piece[:1] in _SPACES
                kinds[token] = _kind(piece[1:] if spaced[token] else piece)
        for added in tokenizer.get("added_tokens") or ():
            if added["special"] and added["id"] < vocabulary:
                kinds[added["id"]] = Kind.CONTROL
        return cls(kinds, spaced)


def _kind(text: str) -> Kind:
    first = text[:1]
    if first.isdigit():
        return Kind.DIGIT
    if first.isupper():
        return Kind.UPPER if len(text) > 1 and text.isupper() else Kind.CAPITAL
    if first.islower():
        return Kind.LOWER
    if first == _REST:
        return Kind.PART
    # The front of a letter that several tokens make up counts as a letter.
    return Kind.CASELESS if first.isalpha() or first == "\ufffd" else Kind.MARK


def _pieces(tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, list):  # a unigram model: pieces with their scores, in the order of their ids
        vocabulary = {piece: token for token, (piece, _) in enumerate(vocabulary)}
    byte_level = '"ByteLevel"' in json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    for piece, token in vocabulary.items():
        yield token, (_from_bytes(piece) if byte_level else piece)


def _from_bytes(piece: str) -> str:
    """A byte-level piece as text: each of its characters stands for a byte.

    What is left of a letter at the front becomes ``_REST``.
    """
    table = _byte_of()
    try:
        content = bytes(table[character] for character in piece)
    except KeyError:  # an added token, which is written as it is
        return piece
    rest = content[:1] in _CONTINUATION_BYTES
    return (_REST if rest else "") + content.decode(errors="replace")


@cache
def _byte_of() -> dict[str, int]:
    """Byte-level tokenizers write printable Latin-1 bytes as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}

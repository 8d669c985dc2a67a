"""Shapes of a vocabulary's tokens (capitals, digits, spaces), read once from tokenizer.json."""

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


class TokenKind(IntEnum):
    """TokenKind of a token's first character after white space."""

    CONTROL = 0
    CAPITAL = 1
    UPPER = 2  # two capitals or more and no other character
    LOWER = 3
    DIGIT = 4
    MARK = 5
    CASELESS = 6
    PART = 7  # a later part of a character that is split over several tokens


@dataclass(frozen=True, slots=True)
class TokenShapes:
    """Shapes of V token ids.

    Attributes:
        kinds: (V), a ``TokenKind`` each.
        spaced: (V), whether the token starts with white space.
        controls: The control tokens.
    """

    kinds: NDArray[np.int64]
    spaced: NDArray[np.bool_]
    controls: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        controls = frozenset(np.flatnonzero(self.kinds == TokenKind.CONTROL).tolist())
        object.__setattr__(self, "controls", controls)

    @classmethod
    def load(cls, folder: Path, vocabulary: int) -> "TokenShapes":
        """Read a model folder's tokenizer; unknown ids count as letters without case."""
        kinds = np.full(vocabulary, TokenKind.CASELESS, np.int64)
        spaced = np.zeros(vocabulary, np.bool_)
        try:
            tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
            pieces = list(_pieces(tokenizer))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Shapes only improve drafts; answers do not depend on them.
            return cls(kinds, spaced)
        for token, piece in pieces:
            if token < vocabulary:
                spaced[token] = piece[:1] in _SPACES
                kinds[token] = _kind(piece[1:] if spaced[token] else piece)
        for added in tokenizer.get("added_tokens") or ():
            if added["special"] and added["id"] < vocabulary:
                kinds[added["id"]] = TokenKind.CONTROL
        return cls(kinds, spaced)


def _kind(text: str) -> TokenKind:
    first = text[:1]
    if first.isdigit():
        return TokenKind.DIGIT
    if first.isupper():
        return TokenKind.UPPER if len(text) > 1 and text.isupper() else TokenKind.CAPITAL
    if first.islower():
        return TokenKind.LOWER
    if first == _REST:
        return TokenKind.PART
    # The first part of a character that is split over several tokens counts as a letter.
    return TokenKind.CASELESS if first.isalpha() or first == "\ufffd" else TokenKind.MARK


def _pieces(tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, list):  # a unigram model: pieces with scores, in the order of their ids
        vocabulary = {piece: token for token, (piece, _) in enumerate(vocabulary)}
    byte_level = '"ByteLevel"' in json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    for piece, token in vocabulary.items():
        yield token, (_from_bytes(piece) if byte_level else piece)


def _from_bytes(piece: str) -> str:
    """Decode a byte-level piece, in which each character stands for a byte.

    Leading continuation bytes become ``_REST``.
    """
    table = _byte_of()
    try:
        content = bytes(table[character] for character in piece)
    except KeyError:  # an added token, which is plain text
        return piece
    rest = content[:1] in _CONTINUATION_BYTES
    return (_REST if rest else "") + content.decode(errors="replace")


@cache
def _byte_of() -> dict[str, int]:
    """Bytes by character: byte-level tokenizers keep printable Latin-1 and map other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}

"""A text and its own tokens: a mention is copied from the text token by token."""

from dataclasses import dataclass
from typing import Self

from stream.ner.template import EncodedText, PromptTemplate


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text with its tokens.

    Attributes:
        text: The text.
        encoded: Its token ids and what each covers.
        template: What encoded it.
    """

    text: str
    encoded: EncodedText
    template: PromptTemplate

    @classmethod
    def of(cls, text: str, template: PromptTemplate) -> Self:
        """Encode a text."""
        return cls(text, template.encode_text(text), template)

    def tokens(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last + 1 of the tokens of ``text[start:end]``; None when one straddles a border.

        White space before the first character may belong to the first token.
        """
        first, last = self.covering(start, end)
        if first == last:
            return None
        before = self.text[self.encoded.offsets[first][0] : start]
        if (before and not before.isspace()) or self.encoded.offsets[last - 1][1] != end:
            return None
        return first, last

    def covering(self, start: int, end: int) -> tuple[int, int]:
        """First and last + 1 of the tokens that hold any of ``text[start:end]``."""
        held = [at for at, (begins, ends) in enumerate(self.encoded.offsets) if begins < end and ends > start]
        return (held[0], held[-1] + 1) if held else (0, 0)

    def ids(self, start: int, end: int) -> tuple[int, ...]:
        """The text's own ids for ``text[start:end]``; new ones where a token straddles a border."""
        tokens = self.tokens(start, end)
        if tokens is None:
            return self.template.encode_text(self.text[start:end]).ids
        return self.encoded.ids[tokens[0] : tokens[1]]

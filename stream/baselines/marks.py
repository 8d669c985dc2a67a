"""The tokens that give an answer its structure."""

from dataclasses import dataclass
from typing import Self

from stream.baselines.config import Baseline
from stream.errors import CheckpointError
from stream.ner.template import PromptTemplate

Ids = tuple[int, ...]

_BRACKETS = {
    Baseline.AUTOREG_STRUCT: ("(", ":", ")"),
    Baseline.AUTOREG_AUG: ("[", "|", "]"),
    Baseline.ONESTEP: (),
}
_COMMA = ","


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the marks of a format, a single one each in a checkpoint that was trained for it.

    Attributes:
        comma: Between mentions, and between the labels of a prompt.
        opening: Before an entity.
        middle: Between its label and its mention.
        closing: After it.
    """

    comma: Ids
    opening: Ids = ()
    middle: Ids = ()
    closing: Ids = ()

    @classmethod
    def trained(cls, baseline: Baseline, template: PromptTemplate) -> Self:
        """The control tokens of a checkpoint that was trained for a format.

        Raises:
            CheckpointError: The tokenizer lacks one.
        """
        found = {token: template.control_token(token) for token in control_tokens(baseline)}
        missing = [token for token, number in found.items() if number is None]
        if missing:
            raise CheckpointError(
                f"the tokenizer has no control token {' nor '.join(missing)}, so no answer in the format "
                f"{baseline} can be told from the text: it was trained for another format"
            )
        return cls(*((number,) for number in found.values() if number is not None))

    @classmethod
    def plain(cls, baseline: Baseline, template: PromptTemplate) -> Self:
        """Ordinary tokens that look like the marks, for answers that are forced and never read."""
        return cls(*(template.encode_text(mark).ids for mark in (_COMMA, *_BRACKETS[baseline])))


def control_tokens(baseline: Baseline) -> list[str]:
    """What a tokenizer must have for a format, beside what the template needs."""
    return [f"<{mark}>" for mark in (_COMMA, *_BRACKETS[baseline])]

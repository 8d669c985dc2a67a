"""What completions say: counts, mentions and their scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stream.inference.generator import Completion
from stream.ner.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class Count:
    """How many mentions of a label the model finds.

    Attributes:
        number: The count, or None where the answer is no count.
        score: Probability of the answer, in [0, 1].
    """

    number: int | None
    score: float


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention as the model wrote it.

    Attributes:
        text: Its text, surrounding white space removed; may be empty or absent from the document.
        score: Product of its tokens' probabilities, in [0, 1].
    """

    text: str
    score: float


def read_count(completion: Completion, template: PromptTemplate) -> Count:
    """The count a completion answers."""
    return Count(template.parse_count(completion.ids), probability(completion.log_probs))


def read_mention(completion: Completion, template: PromptTemplate) -> Mention:
    """The mention a completion answers."""
    return Mention(template.decode_mention(completion.ids), probability(completion.log_probs))


def probability(log_probs: Sequence[float]) -> float:
    """Product of token probabilities, kept in [0, 1] whatever an engine reports; not-a-number counts as 0."""
    total = sum(log_probs)
    if math.isnan(total):
        return 0.0
    return math.exp(min(total, 0.0))

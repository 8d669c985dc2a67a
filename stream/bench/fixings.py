"""Fixings of a decode: the pass that fixed each token of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from stream.bench.parallel_decoding import GUESS
from stream.engine.trace import PassTrace, SequenceTrace
from stream.ner.template import PromptTemplate
from stream.passes import question


@dataclass(frozen=True, slots=True)
class Fixing:
    """The pass that fixed each token of an answer, as in DDGviz (Santilli et al., arXiv 2305.10427).

    Tokens fixed in the same pass did not depend on each other; a later one depended on one before it.

    Attributes:
        question: The question.
        tokens: Of the answer.
        passes: For each token the number of the sequence's pass, from 1, that first chose or guessed it for
            good.
    """

    question: str
    tokens: tuple[str, ...]
    passes: tuple[int, ...]


def fixings(traces: Sequence[PassTrace], template: PromptTemplate) -> list[Fixing]:
    """Fixings of all answers of more than one token, in the order of their completion."""
    by_sequence: dict[object, list[SequenceTrace]] = {}
    found = []
    for each in chain.from_iterable(trace.sequences for trace in traces):
        steps = by_sequence.setdefault(each.sequence, [])
        steps.append(each)
        if each.finished and len(answer := (*each.earlier, *each.chosen)) > 1:
            tokens = tuple(template.show((token,)) for token in answer)
            found.append(Fixing(question(each, template), tokens, _fixed_at(steps)))
    return found


def _fixed_at(steps: Sequence[SequenceTrace]) -> tuple[int, ...]:
    """The fixing pass of each token of an answer: the pass that chose it, or one that guessed it before."""
    fixed = []
    for number, step in enumerate(steps):
        for index, token in enumerate(step.chosen, start=len(step.earlier)):
            since = step.passes
            for before, after in reversed(list(pairwise(steps[: number + 1]))):
                if not _guessed(after, index, token):
                    break
                since = before.passes
            fixed.append(since)
    return tuple(fixed)


def _guessed(step: SequenceTrace, index: int, token: int) -> bool:
    """True if the pass before a step had guessed a token of the answer."""
    draft = step.draft
    return draft is not None and any(
        (draft.depths[at], draft.ids[at], draft.sources[at]) == (index - len(step.earlier), token, GUESS)
        for at in range(len(draft))
    )

"""A decode pass by pass, as text instead of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from stream.bench.parallel_decoding import GUESS
from stream.engine.drafts.draft import Draft
from stream.engine.trace import PassTrace, SequenceTrace
from stream.ner.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class Candidate:
    """A drafted continuation.

    Attributes:
        accepted: The prefix that the model would have produced itself.
        rejected: The rest.
        source: Its drafter.
    """

    accepted: str
    rejected: str
    source: str


@dataclass(frozen=True, slots=True)
class Answering:
    """One prompt in one pass.

    Attributes:
        question: The prompt after its text.
        earlier: The answer so far.
        chosen: Tokens that this pass added.
        finished: Whether the answer is complete.
        candidates: The drafts, the best first.
    """

    question: str
    earlier: str
    chosen: str
    finished: bool
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass.

    Attributes:
        number: From 1.
        prefilled: Tokens that were computed and cached, each run with its position in the sequence.
        tokens: Computed tokens: prefilled, drafted or recomputed.
        past: Cached tokens that it attended to.
        drafted: Drafted tokens among ``tokens``.
        accepted: Accepted ones among them.
        answering: The prompts that took tokens from it.
        milliseconds: By part.
    """

    number: int
    prefilled: tuple[tuple[int, str], ...]
    tokens: int
    past: int
    drafted: int
    accepted: int
    answering: tuple[Answering, ...]
    milliseconds: dict[str, float]


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
            found.append(Fixing(_question(each, template), tokens, _fixed_at(steps)))
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


def explain(traces: Sequence[PassTrace], template: PromptTemplate) -> list[Step]:
    """Passes in the order of their end."""
    return [_step(number, trace, template) for number, trace in enumerate(traces, start=1)]


def _step(number: int, trace: PassTrace, template: PromptTemplate) -> Step:
    # Sequences with the same end share one draft.
    drafts = {id(each.draft): (each.draft, each.accepted) for each in trace.sequences if each.draft}
    return Step(
        number=number,
        prefilled=tuple((position, template.show(ids)) for position, ids in trace.prefilled),
        tokens=trace.tokens,
        past=trace.past,
        drafted=sum(len(draft) for draft, _ in drafts.values() if draft is not None),
        accepted=sum(len(accepted) for _, accepted in drafts.values()),
        answering=tuple(_answering(each, template) for each in trace.sequences),
        milliseconds={part: 1000 * seconds for part, seconds in trace.seconds.items()},
    )


def _answering(trace: SequenceTrace, template: PromptTemplate) -> Answering:
    candidates = [] if trace.draft is None else _candidates(trace.draft, trace.accepted, template)
    return Answering(
        question=_question(trace, template),
        earlier=template.show(trace.earlier),
        chosen=template.show(trace.chosen),
        finished=trace.finished,
        candidates=tuple(candidates),
    )


def _question(trace: SequenceTrace, template: PromptTemplate) -> str:
    _, _, question = template.show(trace.prompt).rpartition(template.config.template.label)
    return " ".join(question.split())


def _candidates(draft: Draft, accepted: Sequence[int], template: PromptTemplate) -> list[Candidate]:
    """Paths of the draft from its first tokens to its leaves, those with most accepted tokens first."""
    parents = {child: parent for (parent, _), child in draft.children.items()}
    leaves = [index for index in range(len(draft)) if index not in parents.values()]
    paths = sorted((_path(leaf, parents) for leaf in leaves), key=lambda path: -_shared(path, accepted))
    found = []
    for path in paths:
        count = _shared(path, accepted)
        ids = [draft.ids[index] for index in path]
        found.append(
            Candidate(template.show(ids[:count]), template.show(ids[count:]), draft.sources[path[-1]])
        )
    return found


def _path(leaf: int, parents: dict[int, int]) -> list[int]:
    path = [leaf]
    while path[0] in parents and parents[path[0]] in parents:
        path.insert(0, parents[path[0]])
    return path


def _shared(path: Sequence[int], accepted: Sequence[int]) -> int:
    return len(set(path) & set(accepted))

"""Forward passes as text instead of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        question=question(trace, template),
        earlier=template.show(trace.earlier),
        chosen=template.show(trace.chosen),
        finished=trace.finished,
        candidates=tuple(candidates),
    )


def question(trace: SequenceTrace, template: PromptTemplate) -> str:
    """The prompt after its text, on one line."""
    _, _, words = template.show(trace.prompt).rpartition(template.config.template.label)
    return " ".join(words.split())


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

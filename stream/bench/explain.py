"""A decode told pass by pass, in words instead of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream.engine.drafts.draft import Draft
from stream.engine.trace import PassTrace, SequenceTrace
from stream.ner.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class Candidate:
    """A drafted continuation.

    Attributes:
        accepted: The part that the model would have written itself.
        rejected: The rest.
        source: Who proposed it.
    """

    accepted: str
    rejected: str
    source: str


@dataclass(frozen=True, slots=True)
class Answering:
    """One prompt in one pass.

    Attributes:
        question: What is asked: the prompt behind its text.
        earlier: The answer so far.
        chosen: What this pass added.
        finished: Whether that completes it.
        candidates: What was drafted, the best first.
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
        read: What was read and kept, each with its position in the sequence.
        tokens: Tokens that went through the model: read, drafted, or repeated.
        past: Tokens of earlier passes that it looked back at.
        drafted: Drafted tokens among ``tokens``.
        accepted: Those of them that stood.
        answering: The prompts that took tokens from it.
        milliseconds: By part.
    """

    number: int
    read: tuple[tuple[int, str], ...]
    tokens: int
    past: int
    drafted: int
    accepted: int
    answering: tuple[Answering, ...]
    milliseconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Fixing:
    """When the tokens of an answer were known: what DDGviz shows (Santilli et al., arXiv 2305.10427).

    Tokens known in the same pass did not wait for each other; one known later waited for one before it.

    Attributes:
        question: What was asked.
        tokens: Of the answer.
        passes: For each of them the pass from which on it was known, from 1.
    """

    question: str
    tokens: tuple[str, ...]
    passes: tuple[int, ...]


def fixings(traces: Sequence[PassTrace], template: PromptTemplate) -> list[Fixing]:
    """Of all answers of more than one token, in the order in which they were complete."""
    finished = [each for trace in traces for each in trace.sequences if each.finished]
    return [
        Fixing(
            _question(each, template),
            tuple(template.show((token,)) for token in (*each.earlier, *each.chosen)),
            each.fixed_at,
        )
        for each in finished
        if len(each.fixed_at) > 1
    ]


def explain(traces: Sequence[PassTrace], template: PromptTemplate) -> list[Step]:
    """Passes in the order in which they ran."""
    return [_step(number, trace, template) for number, trace in enumerate(traces, start=1)]


def _step(number: int, trace: PassTrace, template: PromptTemplate) -> Step:
    # Sequences with the same end share one draft.
    drafts = {id(each.draft): (each.draft, each.accepted) for each in trace.sequences if each.draft}
    return Step(
        number=number,
        read=tuple((position, template.show(ids)) for position, ids in trace.read),
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
    """The draft's paths from its first tokens to its leaves, those with most accepted tokens first."""
    parents = {child: parent for (parent, _), child in draft.children.items()}
    leaves = [index for index in range(len(draft)) if index not in parents.values()]
    paths = sorted((_path(leaf, parents) for leaf in leaves), key=lambda path: -_shared(path, accepted))
    found = []
    for path in paths:
        right = _shared(path, accepted)
        ids = [draft.ids[index] for index in path]
        found.append(
            Candidate(template.show(ids[:right]), template.show(ids[right:]), draft.sources[path[-1]])
        )
    return found


def _path(leaf: int, parents: dict[int, int]) -> list[int]:
    path = [leaf]
    while path[0] in parents and parents[path[0]] in parents:
        path.insert(0, parents[path[0]])
    return path


def _shared(path: Sequence[int], accepted: Sequence[int]) -> int:
    return len(set(path) & set(accepted))

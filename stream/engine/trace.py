"""What a pass did, for those who want to see a decode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream.engine.batch import Batch
from stream.engine.drafts.draft import START, Draft
from stream.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class SequenceTrace:
    """What a pass gave one sequence.

    Attributes:
        prompt: Ids of its prompt, which tell it from others.
        earlier: Tokens of the answer it had before.
        chosen: Tokens of the answer it took in this pass, without the end id.
        draft: What was drafted behind its end.
        accepted: Which of the draft's tokens are among the chosen, as indices.
        finished: Whether the answer is complete.
        fixed_at: When it is: for each of its tokens, from which pass on it was known, counting from 1 those
            that read for it.
    """

    prompt: tuple[int, ...]
    earlier: tuple[int, ...]
    chosen: tuple[int, ...]
    draft: Draft | None
    accepted: tuple[int, ...]
    finished: bool
    fixed_at: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PassTrace:
    """One forward pass.

    Attributes:
        read: Runs of tokens that were read and kept, each with the position of its first token.
        tokens: All tokens that went through the model, drafts included.
        past: Tokens read by earlier passes that it looked back at.
        sequences: Those that took tokens.
        seconds: By part of the pass.
    """

    read: tuple[tuple[int, tuple[int, ...]], ...]
    tokens: int
    past: int
    sequences: tuple[SequenceTrace, ...]
    seconds: Mapping[str, float]


OnPass = Callable[[PassTrace], None]


class PassRecorder:
    """Looks at a pass before its outcome is taken, and again after.

    Args:
        batch: The pass.
        past: Tokens it looks back at.
    """

    def __init__(self, batch: Batch, past: int) -> None:
        self._read = tuple((node.start, node.ids) for node in batch.nodes)
        self._tokens, self._past = batch.tokens, past
        self._before = [
            (sequence, len(sequence.produced), batch.drafts.get(node))
            for node, sequences in batch.asked.items()
            for sequence in sequences
        ]

    def trace(self, finished: list[Sequence], seconds: Mapping[str, float]) -> PassTrace:
        """The trace, once the outcome is taken."""
        sequences = tuple(
            _sequence_trace(sequence, earlier, draft, finished=sequence in finished)
            for sequence, earlier, draft in self._before
        )
        return PassTrace(self._read, self._tokens, self._past, sequences, seconds)


def _sequence_trace(
    sequence: Sequence, earlier: int, draft: Draft | None, *, finished: bool
) -> SequenceTrace:
    chosen = tuple(sequence.produced[earlier:])
    accepted: list[int] = []
    at: int | None = START
    for token in chosen if draft is not None else ():
        at = draft.children.get((at, token)) if draft is not None and at is not None else None
        if at is None:
            break
        accepted.append(at)
    return SequenceTrace(
        prompt=sequence.prompt.ids,
        earlier=tuple(sequence.produced[:earlier]),
        chosen=chosen,
        draft=draft,
        accepted=tuple(accepted),
        finished=finished,
        fixed_at=tuple(sequence.fixed_at) if finished else (),
    )

"""Clocks and traces of passes, wrapped around the engine's functions from outside."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import get_ident
from typing import ParamSpec, TypeVar

from stream.engine.batch import Batch
from stream.engine.drafts.draft import START, Draft
from stream.engine.forward import PassOutput
from stream.engine.sequence import Sequence

P = ParamSpec("P")
R = TypeVar("R")


class Clock:
    """Seconds by part of a pass.

    Args:
        parts: Their names, in the order of a pass; one thread does all parts of one pass.
    """

    def __init__(self, *parts: str) -> None:
        self._parts = parts
        # By thread, so that threads need no lock.
        self._by_thread: dict[int, dict[str, float]] = {}

    def timed(self, part: str, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function so that its time counts for a part."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            began = time.perf_counter()
            result = function(*args, **kwargs)
            self._of_thread()[part] += time.perf_counter() - began
            return result

        return run

    def seconds(self) -> dict[str, float]:
        """Totals over all threads."""
        threads = list(self._by_thread.values())
        return {part: sum(each[part] for each in threads) for part in self._parts}

    def by_thread(self) -> dict[int, dict[str, float]]:
        """Totals by the identity of the thread."""
        return {thread: dict(parts) for thread, parts in self._by_thread.items()}

    def of_this_thread(self) -> dict[str, float]:
        """Totals of the calling thread."""
        return dict(self._of_thread())

    def _of_thread(self) -> dict[str, float]:
        known = self._by_thread.get(get_ident())
        if known is None:
            known = self._by_thread[get_ident()] = dict.fromkeys(self._parts, 0.0)
        return known


@dataclass(frozen=True, slots=True)
class SequenceTrace:
    """Result of a pass for one sequence.

    Attributes:
        sequence: Identity of the sequence: the same object in all its passes.
        passes: Number of this pass among those of the sequence, from 1.
        prompt: Ids of its prompt.
        earlier: Tokens of the answer before this pass.
        chosen: Tokens that this pass added, without the end id.
        draft: The draft after its end.
        accepted: The draft's tokens among ``chosen``, as indices.
        finished: Whether the answer is complete.
    """

    sequence: object
    passes: int
    prompt: tuple[int, ...]
    earlier: tuple[int, ...]
    chosen: tuple[int, ...]
    draft: Draft | None
    accepted: tuple[int, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class PassTrace:
    """One forward pass.

    Attributes:
        prefilled: Runs of tokens that were computed and cached, each with the position of its first token.
        tokens: Number of computed tokens, drafts included.
        past: Number of cached tokens that it attended to.
        sequences: Those that took tokens.
        seconds: By part of the pass.
    """

    prefilled: tuple[tuple[int, tuple[int, ...]], ...]
    tokens: int
    past: int
    sequences: tuple[SequenceTrace, ...]
    seconds: Mapping[str, float]


OnPass = Callable[[PassTrace], None]
Accept = Callable[[Batch, PassOutput], list[Sequence]]


def traced(accept: Accept, clock: Clock, on_pass: OnPass) -> Accept:
    """Wrap the function that accepts a pass's output, so that every pass is reported.

    Args:
        accept: Returns the sequences that it finished.
        clock: Of the pass's parts, ``accept`` included.
        on_pass: Called with each trace, under the decoder's lock.
    """
    before = clock.by_thread()

    def run(batch: Batch, output: PassOutput) -> list[Sequence]:
        prefilled = tuple((node.start, node.ids) for node in batch.nodes)
        past = _past(batch)
        states = [
            (sequence, len(sequence.produced), batch.drafts.get(node))
            for node, sequences in batch.outputs.items()
            for sequence in sequences
        ]
        finished = accept(batch, output)
        sequences = tuple(
            _sequence_trace(sequence, earlier, draft, finished=sequence in finished)
            for sequence, earlier, draft in states
        )
        now, last = clock.of_this_thread(), before.get(get_ident(), {})
        before[get_ident()] = now
        seconds = {part: total - last.get(part, 0.0) for part, total in now.items()}
        on_pass(PassTrace(prefilled, batch.tokens, past, sequences, seconds))
        return finished

    return run


def _past(batch: Batch) -> int:
    ends = (*batch.nodes, *batch.recomputed, *batch.drafts)
    cached = {node for end in ends for node in end.lineage() if node.mark is not batch.mark}
    return sum(len(node.ids) for node in cached)


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
        sequence=sequence,
        passes=sequence.passes,
        prompt=sequence.prompt.ids,
        earlier=tuple(sequence.produced[:earlier]),
        chosen=chosen,
        draft=draft,
        accepted=tuple(accepted),
        finished=finished,
    )

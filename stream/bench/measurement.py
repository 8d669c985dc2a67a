"""Strategies measured side by side: each document goes through all of them, so noise hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.aio import all_of
from stream.bench.cases import Case
from stream.bench.strategies import GOLD, Found, Strategy, Totals
from stream.evaluation.scores import Score

_SIDE = 1024
_TRIES = 5


@dataclass(frozen=True, slots=True)
class ModelArithmetic:
    """Floating-point operations of a model's matrix products; attention's own are left out, being few.

    Attributes:
        token: For every token read.
        row: For every token chosen: the output head.
    """

    token: float
    row: float

    @classmethod
    def of(cls, weights: Mapping[str, NDArray[np.float32]]) -> "ModelArithmetic":
        """Of a checkpoint's weights; a multiplication and an addition for each."""
        matrices = {name: weight for name, weight in weights.items() if weight.ndim == 2}  # noqa: PLR2004
        head = matrices.get("lm_head.weight", matrices["model.embed_tokens.weight"])
        token = sum(weight.size for name, weight in matrices.items() if ".layers." in name)
        return cls(2.0 * token, 2.0 * head.size)

    def useful(self, totals: Totals) -> float:
        """Operations that answers needed, without those of rejected drafts."""
        rejected = sum(totals.drafted.values()) - sum(totals.accepted.values())
        return (totals.computed - rejected) * self.token + totals.produced * self.row


def machine_rate() -> float:
    """Operations a second of a large fp32 matrix product on all cores, the best of a few tries."""
    side = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        side @ side
        best = min(best, time.perf_counter() - began)
    return 2.0 * _SIDE**3 / best


IN_FLIGHT = (8, 32, 128)
"""Levels at which documents a second are measured, beside 1, which the latencies give."""

Open = Callable[[str], Strategy]


@dataclass(slots=True)
class Measured:
    """Figures of one strategy.

    Attributes:
        ms: Milliseconds of each document, one at a time.
        passes: Forward passes of each, one after the other.
        totals: Counts over all of them.
        documents_per_second: By documents in flight.
        found: Mentions of each document, if it decoded the model's own answers.
        score: Of those mentions, against the annotation.
    """

    ms: list[float] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    documents_per_second: dict[int, float] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    score: Score = field(default_factory=Score)

    def as_dict(self) -> dict[str, Any]:
        """The figures that compare strategies, rounded."""
        return {
            "passes_mean": round(float(np.mean(self.passes)), 3),
            "passes_p95": round(float(np.percentile(self.passes, 95)), 3),
            "ms_mean": round(float(np.mean(self.ms)), 3),
            "ms_p50": round(float(np.percentile(self.ms, 50)), 3),
            "ms_p95": round(float(np.percentile(self.ms, 95)), 3),
            "documents_per_second": {
                str(level): round(rate, 2) for level, rate in self.documents_per_second.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Workload:
    """Documents to measure on.

    Attributes:
        one_by_one: For latency.
        at_once: For documents a second; a level takes at least twice as many as it has in flight, or all.
        warm_up: Decoded before and not counted.
    """

    one_by_one: Sequence[Case]
    at_once: Sequence[Case]
    warm_up: Sequence[Case]


async def measure(
    names: Sequence[str],
    open_strategy: Open,
    workload: Workload,
    *,
    in_flight: Sequence[int] = IN_FLIGHT,
    on_document: Callable[[], None] = lambda: None,
) -> dict[str, Measured]:
    """Measure strategies, each on the same documents.

    Args:
        names: What to open.
        open_strategy: Opens a strategy with nothing cached.
        workload: Documents.
        in_flight: Levels of throughput.
        on_document: Called after each document.

    Raises:
        stream.errors.PadellmError: A strategy cannot be opened or does not answer.
    """
    measured = await _latencies(names, open_strategy, workload, on_document)
    for level in in_flight:
        for name in names:
            documents = workload.at_once[: max(2 * level, 48)]
            rate = await _rate(open_strategy(name), documents, workload.warm_up, level, on_document)
            measured[name].documents_per_second[level] = rate or 1000 / float(np.mean(measured[name].ms))
    return measured


def documents_to_decode(workload: Workload, in_flight: Sequence[int] = IN_FLIGHT) -> int:
    """Number of calls of ``on_document`` by ``measure`` for each strategy."""
    return len(workload.one_by_one) + sum(len(workload.at_once[: max(2 * level, 48)]) for level in in_flight)


async def _latencies(
    names: Sequence[str], open_strategy: Open, workload: Workload, on_document: Callable[[], None]
) -> dict[str, Measured]:
    """One document at a time, through all strategies, each time beginning with another."""
    strategies = {name: open_strategy(name) for name in names}
    measured = {name: Measured() for name in names}
    try:
        for strategy in strategies.values():
            for case in workload.warm_up:
                await strategy.decode(case)
        before = {name: strategy.totals() for name, strategy in strategies.items()}
        for turn, case in enumerate(workload.one_by_one):
            first = turn % len(names)
            for name in (*names[first:], *names[:first]):
                passes = strategies[name].totals().passes
                measured[name].ms.append(1000 * await strategies[name].decode(case))
                measured[name].passes.append(strategies[name].totals().passes - passes)
                if (found := strategies[name].found) is not None:
                    measured[name].found.append(found)
                    measured[name].score += Score.of(found, _annotated(case))
                on_document()
        for name, strategy in strategies.items():
            measured[name].totals = strategy.totals() - before[name]
            measured[name].documents_per_second[1] = 1000 / float(np.mean(measured[name].ms))
    finally:
        for strategy in strategies.values():
            await strategy.close()
    return measured


def shown(name: str) -> str:
    """A strategy's name in tables and charts."""
    return name.replace(GOLD, ", gold")


def agreement(left: Measured, right: Measured) -> float:
    """Micro-F1 of one strategy's mentions against another's, in the same documents."""
    pairs = zip(left.found, right.found, strict=True)
    return sum((Score.of(*pair) for pair in pairs), Score()).f1


def _annotated(case: Case) -> Found:
    return frozenset(
        (number, mention.answer) for number, label in enumerate(case.labels) for mention in label.mentions
    )


async def _rate(
    strategy: Strategy,
    documents: Sequence[Case],
    warm_up: Sequence[Case],
    in_flight: int,
    on_document: Callable[[], None],
) -> float | None:
    """Documents a second; None for a strategy of simulated machines, of which more in flight need more."""
    queue = iter(documents)

    async def serve() -> None:
        for case in queue:
            await strategy.decode(case)
            on_document()

    try:
        if strategy.simulated:
            for _ in documents:
                on_document()
            return None
        await all_of(map(strategy.decode, warm_up))
        began = time.perf_counter()
        await all_of(serve() for _ in range(min(in_flight, strategy.most_at_once or in_flight)))
        return len(documents) / (time.perf_counter() - began)
    finally:
        await strategy.close()

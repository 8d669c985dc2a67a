"""Strategies of finding a document's entities, all on the same engine."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from stream.aio import all_of
from stream.bench.cases import Case, Forced, LabelCase
from stream.bench.decoding import Decoding
from stream.bench.padded_batch import PaddedBatch
from stream.bench.parallel_decoding import open_decoder
from stream.engine.decoder import EngineOptions
from stream.engine.model.session import Model
from stream.engine.trace import OnPass
from stream.inference.in_process import InProcessGenerator
from stream.ner.template import PromptTemplate

GOLD = "+gold"
"""Suffix of a strategy's name: forced decoding of the gold answers instead of the model's own."""

FLOOR = "floor"
"""The single pass that prefills the text with its label branches: all counts and no mentions."""

Found = frozenset[tuple[int, tuple[int, ...]]]
"""Mentions found in a document: index of the label, and the mention's tokens."""

LUD = "lud"
"""The lossy strategy; it is compared with ``GREEDY``."""

GREEDY = "padellm_no_drafts"

_Flow = Callable[["_Asker", Case], Awaitable[Found | None]]


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts that add up over documents.

    Attributes:
        passes: Forward passes.
        computed: Tokens that went through the model, drafts and padding included.
        produced: Tokens of answers.
        drafted: Drafted tokens, by drafter.
        accepted: Accepted ones among them, by drafter.
        seconds: Time of the passes, by part; empty where it is not measured.
    """

    passes: int = 0
    computed: int = 0
    produced: int = 0
    drafted: Mapping[str, int] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(
            self.passes - other.passes,
            self.computed - other.computed,
            self.produced - other.produced,
            {name: count - other.drafted.get(name, 0) for name, count in self.drafted.items()},
            {name: count - other.accepted.get(name, 0) for name, count in self.accepted.items()},
            {part: spent - other.seconds.get(part, 0.0) for part, spent in self.seconds.items()},
        )


class Strategy(Protocol):
    """Decodes documents; several at once, up to ``most_at_once``.

    Attributes:
        most_at_once: Maximum number of documents at once; None: unbounded, the engine batches them.
        simulated: Whether its times are those of a simulated machine.
        found: Mentions in the last decoded document; None under forced decoding.
    """

    most_at_once: int | None
    simulated: bool
    found: Found | None

    async def decode(self, case: Case) -> float:
        """Decode one document.

        Returns:
            Seconds it took.
        """
        ...

    def totals(self) -> Totals:
        """Counts so far."""
        ...

    async def close(self) -> None:
        """Stop the threads."""
        ...


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens strategies on one model, each with an empty KV cache.

    Attributes:
        model: All strategies run it; the weights are in memory once.
        template: Its prompts.
        on_pass: Called with a trace of every pass of the engine.
    """

    model: Model
    template: PromptTemplate
    on_pass: OnPass | None = None

    def open(self, name: str) -> Strategy:
        """Open a strategy of ``NAMES``, the ``FLOOR``, or one with the suffix ``GOLD``."""
        plain = name.removesuffix(GOLD)
        if plain == "padellm_script":
            return _Script(PaddedBatch(self.model), self.model.threads)
        if plain == "padellm_multi":
            return _Multi(PaddedBatch(self.model))
        decoding, flow, forced = _ON_THE_ENGINE[plain]
        decoder = open_decoder(decoding, self.model, EngineOptions(), on_pass=self.on_pass)
        forced = forced or name.endswith(GOLD)
        return _OnTheEngine(_Asker(InProcessGenerator(decoder), self.template, forced=forced), flow)


class _Asker:
    """Sends prompts to the engine, with their answers under forced decoding."""

    def __init__(self, generator: InProcessGenerator, template: PromptTemplate, *, forced: bool) -> None:
        self.generator = generator
        self._template = template
        self.forced = forced

    async def ask(self, forced: Forced) -> tuple[int, ...]:
        answer = forced.answer if self.forced else None
        return (await self.generator.generate(forced.prompt, forced=answer)).ids

    async def ask_all(self, several: Sequence[Forced]) -> list[tuple[int, ...]]:
        return await all_of(map(self.ask, several)) if several else []

    async def ask_label(self, label: LabelCase) -> list[tuple[int, ...]]:
        """Decode a label's count and then all its mentions, as ``stream.ner.parallel_decoding`` does."""
        answer = await self.ask(label.count)
        if self.forced:
            return await self.ask_all(label.mentions)
        count = self._template.parse_count(answer) or 0
        prompts = [self._template.mention_prompt(label.count.prompt, count, k) for k in range(1, count + 1)]
        return await self.ask_all([Forced(prompt, ()) for prompt in prompts])


async def _padellm(asker: _Asker, case: Case) -> Found | None:
    answers = await all_of(map(asker.ask_label, case.labels))
    if asker.forced:
        return None
    return frozenset((label, mention) for label, mentions in enumerate(answers) for mention in mentions)


async def _counts(asker: _Asker, case: Case) -> None:
    await asker.ask_all([label.count for label in case.labels])


async def _struct(asker: _Asker, case: Case) -> None:
    await asker.ask(case.struct)


async def _aug(asker: _Asker, case: Case) -> None:
    await asker.ask(case.aug)


async def _onestep(asker: _Asker, case: Case) -> None:
    await asker.ask_all(case.onestep)


_ON_THE_ENGINE: dict[str, tuple[Decoding, _Flow, bool]] = {
    FLOOR: (Decoding.PLAIN, _counts, True),
    "padellm": (Decoding.DRAFTS, _padellm, False),
    GREEDY: (Decoding.PLAIN, _padellm, False),
    "autoreg_struct": (Decoding.PLAIN, _struct, True),
    "autoreg_aug": (Decoding.PLAIN, _aug, True),
    "onestep": (Decoding.PLAIN, _onestep, True),
    "jacobi": (Decoding.JACOBI, _padellm, False),
    "gauss_seidel": (Decoding.GAUSS_SEIDEL, _padellm, False),
    LUD: (Decoding.LUD, _padellm, False),
}

NAMES = (
    "padellm",
    GREEDY,
    "padellm_script",
    "padellm_multi",
    "autoreg_struct",
    "autoreg_aug",
    "onestep",
    "jacobi",
    "gauss_seidel",
    LUD,
)
"""All strategies, in the order of the table."""

OWN_ANSWERS = frozenset(name for name, (_, _, forced) in _ON_THE_ENGINE.items() if not forced)
"""Strategies that decode the model's own answers, unless their name ends in ``GOLD``."""


class _OnTheEngine:
    """A flow of prompts through the engine."""

    most_at_once: int | None = None
    simulated = False

    def __init__(self, asker: _Asker, flow: _Flow) -> None:
        self._asker = asker
        self._flow = flow
        self.found: Found | None = None

    async def decode(self, case: Case) -> float:
        began = time.perf_counter()
        self.found = await self._flow(self._asker, case)
        return time.perf_counter() - began

    def totals(self) -> Totals:
        counts = self._asker.generator.decoder.statistics()
        return Totals(
            counts.passes,
            counts.tokens_computed,
            counts.tokens_produced,
            counts.tokens_drafted,
            counts.tokens_accepted,
            counts.seconds,
        )

    async def close(self) -> None:
        await self._asker.generator.close()


class _Script:
    """PaDeLLM as in the authors' script on one device: all counts in a batch, then all mentions.

    A batch holds one document, since larger ones were measured slower on a CPU. The number of documents at
    once is the engine's number of threads.
    """

    simulated = False
    found: Found | None = None

    def __init__(self, batch: PaddedBatch, threads: int) -> None:
        self.most_at_once: int | None = threads
        self._batch = batch
        self._threads = ThreadPoolExecutor(threads)
        self._running = 0
        self._totals = Totals()

    async def decode(self, case: Case) -> float:
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, case)
        finally:
            self._running -= 1

    def _decode(self, case: Case) -> float:
        began = time.perf_counter()
        batches = [[label.count for label in case.labels], _mentions(case)]
        runs = [self._batch.decode(rows, alone=self._running == 1) for rows in batches if rows]
        seconds = time.perf_counter() - began
        self._totals = Totals(
            self._totals.passes + sum(run.passes for run in runs),
            self._totals.computed + sum(run.tokens_read for run in runs),
            self._totals.produced + _answered(case),
        )
        return seconds

    def totals(self) -> Totals:
        return self._totals

    async def close(self) -> None:
        self._threads.shutdown()


class _Multi:
    """PaDeLLM with a device per sequence, simulated as in the paper: the longest sequence counts.

    Each sequence runs alone and prefills its whole prompt. Mentions start when the last count is done.
    """

    most_at_once: int | None = 1
    simulated = True
    found: Found | None = None

    def __init__(self, batch: PaddedBatch) -> None:
        self._batch = batch
        self._totals = Totals()

    async def decode(self, case: Case) -> float:
        return await asyncio.to_thread(self._decode, case)

    def _decode(self, case: Case) -> float:
        seconds, passes, computed = 0.0, 0, 0
        for stage in ([label.count for label in case.labels], _mentions(case)):
            alone = [self._alone(row) for row in stage]
            seconds += max((each[0] for each in alone), default=0.0)
            passes += max((each[1] for each in alone), default=0)
            computed += sum(each[2] for each in alone)
        self._totals = Totals(
            self._totals.passes + passes,
            self._totals.computed + computed,
            self._totals.produced + _answered(case),
        )
        return seconds

    def _alone(self, row: Forced) -> tuple[float, int, int]:
        began = time.perf_counter()
        run = self._batch.decode([row], alone=True)
        return time.perf_counter() - began, run.passes, run.tokens_read

    def totals(self) -> Totals:
        return self._totals

    async def close(self) -> None:
        return None


def _mentions(case: Case) -> list[Forced]:
    return [mention for label in case.labels for mention in label.mentions]


def _answered(case: Case) -> int:
    return sum(len(each.answer) for each in (*(label.count for label in case.labels), *_mentions(case)))

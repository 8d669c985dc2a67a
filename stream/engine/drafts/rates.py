"""Rates at which answers start and continue at tokens of a class, learned online from finished answers.

Priors assume European capitalisation; they adapt online to the label and script.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.engine.drafts.probe import Features, LinearProbe
from stream.engine.prefix_tree import TokenIds
from stream.engine.prompt import KINDS, CopySource, Key
from stream.engine.token_shapes import TokenKind

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruTable(Generic[K, V]):
    """A table that creates missing values and evicts the least recently used key.

    Args:
        make: Creates the value of a missing key.
        most: Maximum number of keys.
    """

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, key: K) -> V | None:
        """Value of a key, if present."""
        return self._values.get(key)

    def get(self, key: K) -> V:
        """Value of a key, created if missing."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value


_COUNT_TOKENS = 64
_INDEX_TOKENS = 32


@dataclass(frozen=True, slots=True)
class AnswerIndex:
    """Index of an answer, from 0, among ``count`` answers to one question."""

    index: int
    count: int


ONLY = AnswerIndex(0, 1)


class AnswerIndexer:
    """Infers from earlier prompts that a prompt asks for answer k of n.

    Such a prompt ends in a token for n and a token for k, whose meaning is unknown here. Prompts with one
    token for n have as many answers as distinct tokens for k, in the order of the vocabulary.
    """

    def __init__(self) -> None:
        self._seen: LruTable[int, list[int]] = LruTable(lambda _: [], _COUNT_TOKENS)

    def __len__(self) -> int:
        return len(self._seen)

    def of(self, tail: TokenIds) -> AnswerIndex:
        """Index of the answer to a prompt with these two last tokens; without them, the only answer."""
        if not tail:
            return ONLY
        seen = self._seen.get(tail[0])
        index = bisect_left(seen, tail[1])
        if index == len(seen) or seen[index] != tail[1]:
            if len(seen) == _INDEX_TOKENS:
                return ONLY
            insort(seen, tail[1])
        return AnswerIndex(index, len(seen))


Rates = NDArray[np.float64]

_START_CLASSES = KINDS * 2 * KINDS
_STEP_CLASSES = KINDS * 2 * KINDS * 2
_TOKEN_CLASSES = 4096
_ORDERED = 0.95
"""Share of answers in the order of the text."""
_PRIOR_WEIGHT = 8.0
"""Weight of a prior, in observations."""
_KEYS = 256


@dataclass(slots=True)
class Tally:
    """Hits and trials by class."""

    size: int
    hits: Rates = field(init=False)
    trials: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.hits, self.trials = np.zeros(self.size), np.zeros(self.size)

    def rates(self, classes: NDArray[np.int64], prior: Rates | float, weight: float = _PRIOR_WEIGHT) -> Rates:
        """Rates of some classes, smoothed towards a prior."""
        rates: Rates = (self.hits[classes] + weight * prior) / (self.trials[classes] + weight)
        return rates

    def count(self, classes: NDArray[np.int64], hit: slice) -> None:
        """Add trials, a slice of which were hits."""
        np.add.at(self.trials, classes, 1.0)
        np.add.at(self.hits, classes[hit], 1.0)


@dataclass(slots=True)
class _SpanTallies:
    """Tallies of the answers to one key, or to all keys."""

    starts: Tally = field(default_factory=lambda: Tally(_START_CLASSES))
    steps: Tally = field(default_factory=lambda: Tally(_STEP_CLASSES))
    tokens: Tally = field(default_factory=lambda: Tally(_TOKEN_CLASSES))


@dataclass(frozen=True, slots=True)
class SpanRates:
    """Expected answers to one key over a text of T tokens.

    Attributes:
        starts: (T), rate at which an answer starts at each token, up to a common factor.
        steps: (T - 1), probability that an answer continues from each token to the next.
    """

    starts: Rates
    steps: Rates
    _ordered: dict[int, list[Rates]] = field(default_factory=dict, init=False)

    def starts_of(self, index: AnswerIndex) -> Rates:
        """(T), probability that the k-th of n answers starts at each token; sums to 1.

        Answers usually come in the order of the text. So this is the probability that a token is the k-th of
        n starts, where each set of n starts is weighted by the product of their rates.
        """
        if index.count not in self._ordered:
            self._ordered[index.count] = _in_order(self.starts / self.starts.mean(), index.count)
        return self._ordered[index.count][index.index]


class CopyRates:
    """Learned rates of all keys; bounded, by least recent use.

    Args:
        width: Number of features per token; 0: no features are given.
    """

    def __init__(self, width: int = 0) -> None:
        self._prior_starts, self._prior_steps = _prior_starts(), _prior_steps()
        self._all = _SpanTallies()
        self._by_key: LruTable[Key, _SpanTallies] = LruTable(lambda _: _SpanTallies(), _KEYS)
        self._probes: LruTable[Key, LinearProbe] = LruTable(lambda _: LinearProbe(width), _KEYS)

    def predict(self, text: CopySource, key: Key, features: Features | None = None) -> SpanRates:
        """Expected answers to a key over a text.

        Args:
            text: T tokens.
            key: The question.
            features: (T, width), of the text, once they are cached.
        """
        at_starts, at_steps = text.start_classes, text.step_classes
        starts = self._all.starts.rates(at_starts, self._prior_starts[at_starts])
        steps = self._all.steps.rates(at_steps, self._prior_steps[at_steps])
        if (known := self._by_key.peek(key)) is not None:
            starts = known.starts.rates(at_starts, starts)
            starts = known.tokens.rates(text.ids % _TOKEN_CLASSES, starts, 2.0)
            steps = known.steps.rates(at_steps, steps)
        if features is not None and (probe := self._probes.peek(key)) is not None:
            starts, steps = probe.starts(features, starts), probe.steps(features, steps)
        return SpanRates(starts, steps)

    def learn(
        self, text: CopySource, key: Key, index: AnswerIndex, answer: slice, features: Features | None = None
    ) -> None:
        """Learn from an answer that was copied from a text.

        Args:
            text: T tokens.
            key: The question.
            index: Of the answer among those to the question.
            answer: Its position in the text.
            features: (T, width), of the text, once they are cached.
        """
        start, end = answer.start, answer.stop
        if features is not None:
            predicted = self.predict(text, key, features)
            self._probes.get(key).learn(features, predicted.starts_of(index), predicted.steps, answer)
        started, continued = slice(start, start + 1), slice(0, end - start - 1)
        steps = text.step_classes[start:end]
        for tallies in (self._all, self._by_key.get(key)):
            tallies.starts.count(text.start_classes, started)
            tallies.steps.count(steps, continued)
        tallies.tokens.count(text.ids % _TOKEN_CLASSES, started)


def _in_order(rates: Rates, count: int) -> list[Rates]:
    """For each of ``count`` answers in the order of the text, probability that it starts at each token."""
    before, after = [np.ones(len(rates))], [np.ones(len(rates))]
    for _ in range(count - 1):
        # Sums over all choices of so many tokens before each token, or after it, weighted by their rates.
        before.append(_shifted(np.cumsum(rates * before[-1])))
        after.append(_shifted(np.cumsum((rates * after[-1])[::-1]))[::-1])
    evenly = rates / rates.sum()
    ordered = []
    for place in range(count):
        chances = rates * before[place] * after[count - 1 - place]
        total = chances.sum()
        ordered.append(_ORDERED * chances / total + (1 - _ORDERED) * evenly if total > 0 else evenly)
    return ordered


def _shifted(sums: Rates) -> Rates:
    return np.concatenate(([0.0], sums[:-1]))


def _prior_starts() -> Rates:
    rates = np.full((KINDS, 2, KINDS), 0.004)
    for kind, rate in (
        (TokenKind.CAPITAL, 0.5),
        (TokenKind.UPPER, 0.5),
        (TokenKind.DIGIT, 0.05),
        (TokenKind.CASELESS, 0.1),
    ):
        rates[:, 1, kind] = rate
    rates[:, 1, TokenKind.LOWER] = 0.02
    rates[:, 1, TokenKind.MARK] = 0.01
    for before in (TokenKind.CAPITAL, TokenKind.UPPER):
        rates[before, 1, [TokenKind.CAPITAL, TokenKind.UPPER]] = 0.15
    return rates.ravel()


def _prior_steps() -> Rates:
    rates = np.full((KINDS, 2, KINDS, 2), 0.96)
    rates[:, 0, TokenKind.PART] = 0.99
    rates[:, 0, TokenKind.MARK] = 0.4
    rates[:, 1] = 0.03
    rates[:, 1, [TokenKind.LOWER, TokenKind.MARK], 1] = 0.15
    rates[:, 1, [TokenKind.CAPITAL, TokenKind.UPPER]] = 0.55
    rates[:, 1, TokenKind.DIGIT] = 0.2
    rates[:, 1, TokenKind.CASELESS] = 0.7
    return rates.ravel()

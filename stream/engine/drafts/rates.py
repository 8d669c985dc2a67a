"""How often answers begin and go on at tokens of a kind, learned from the answers that went by.

Rates start from what names look like in European scripts and soon follow the stream: whatever the labels ask
for, also where names are written without capitals.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.engine.drafts.probe import StateProbe, States
from stream.engine.prefix_tree import TokenIds
from stream.engine.prompt import KINDS, Key, Text
from stream.engine.token_shapes import Kind

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A table of the keys used last.

    Args:
        make: Makes the value of a key that is not there.
        most: Keys kept; the one used longest ago goes first.
    """

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def known(self, key: K) -> V | None:
        """A key's value, if it is there."""
        return self._values.get(key)

    def of(self, key: K) -> V:
        """A key's value, made where it is missing."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value


_COUNTS = 64
_MOST = 32


@dataclass(frozen=True, slots=True)
class Ordinal:
    """The answer at a ``place``, from 0, ``of`` so many to the same question."""

    place: int
    of: int


ONLY = Ordinal(0, 1)


class Ordinals:
    """A prompt that asks for one of several answers ends in how many they are, and which of them it wants.

    What these tokens mean is not known here. But those that end alike up to the last token ask for as many
    answers as there are last tokens, in the order of the vocabulary.
    """

    def __init__(self) -> None:
        self._last: Recent[int, list[int]] = Recent(lambda _: [], _COUNTS)

    def __len__(self) -> int:
        return len(self._last)

    def of(self, tail: TokenIds) -> Ordinal:
        """Of a prompt with these two last tokens; without any, the only answer."""
        if not tail:
            return ONLY
        seen = self._last.of(tail[0])
        place = bisect_left(seen, tail[1])
        if place == len(seen) or seen[place] != tail[1]:
            if len(seen) == _MOST:
                return ONLY
            insort(seen, tail[1])
        return Ordinal(place, len(seen))


Rates = NDArray[np.float64]

_START_CLASSES = KINDS * 2 * KINDS
_STEP_CLASSES = KINDS * 2 * KINDS * 2
_TOKEN_CLASSES = 4096
_ORDERED = 0.95
"""Share of answers that come in the order of the text."""
_BELIEF = 8.0
"""Observations that an expectation weighs as much as."""
_KEYS = 256


@dataclass(slots=True)
class Tally:
    """Hits among occasions, by class."""

    size: int
    hits: Rates = field(init=False)
    seen: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.hits, self.seen = np.zeros(self.size), np.zeros(self.size)

    def rates(self, classes: NDArray[np.int64], expected: Rates | float, belief: float = _BELIEF) -> Rates:
        """Rates of some classes, drawn towards what is expected of each."""
        rates: Rates = (self.hits[classes] + belief * expected) / (self.seen[classes] + belief)
        return rates

    def count(self, classes: NDArray[np.int64], hit: slice) -> None:
        """Add occasions, of which a slice were hits."""
        np.add.at(self.seen, classes, 1.0)
        np.add.at(self.hits, classes[hit], 1.0)


@dataclass(slots=True)
class _Copies:
    """What is known of the answers to one key, or to all."""

    starts: Tally = field(default_factory=lambda: Tally(_START_CLASSES))
    steps: Tally = field(default_factory=lambda: Tally(_STEP_CLASSES))
    tokens: Tally = field(default_factory=lambda: Tally(_TOKEN_CLASSES))


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is to be expected of the answers to one key over a text of T tokens.

    Attributes:
        starts: (T), how likely an answer begins at each token, up to a common factor.
        steps: (T - 1), how likely an answer that holds a token goes on with the next.
    """

    starts: Rates
    steps: Rates
    _ordered: dict[int, list[Rates]] = field(default_factory=dict, init=False)

    def starts_of(self, ordinal: Ordinal) -> Rates:
        """(T), how likely the k-th of n answers begins at each token; adds up to 1.

        Answers come in the order of the text, as a rule: it is the chance that a token is the k-th of n that
        are chosen together, by the product of their rates.
        """
        if ordinal.of not in self._ordered:
            self._ordered[ordinal.of] = _in_order(self.starts / self.starts.mean(), ordinal.of)
        return self._ordered[ordinal.of][ordinal.place]


class CopyRates:
    """Bounded: the keys used last are kept.

    Args:
        width: Of a token's states; 0: there are none.
    """

    def __init__(self, width: int = 0) -> None:
        self._expected_starts, self._expected_steps = _expected_starts(), _expected_steps()
        self._all = _Copies()
        self._by_key: Recent[Key, _Copies] = Recent(lambda _: _Copies(), _KEYS)
        self._probes: Recent[Key, StateProbe] = Recent(lambda _: StateProbe(width), _KEYS)

    def prospects(self, text: Text, key: Key, states: States | None = None) -> Prospects:
        """What is to be expected of the answers to a key over a text.

        Args:
            text: T tokens.
            key: What is asked.
            states: (T, width), what the model holds of the text, where it is known.
        """
        at_starts, at_steps = text.start_classes, text.step_classes
        starts = self._all.starts.rates(at_starts, self._expected_starts[at_starts])
        steps = self._all.steps.rates(at_steps, self._expected_steps[at_steps])
        if (known := self._by_key.known(key)) is not None:
            starts = known.starts.rates(at_starts, starts)
            starts = known.tokens.rates(text.ids % _TOKEN_CLASSES, starts, 2.0)
            steps = known.steps.rates(at_steps, steps)
        if states is not None and (probe := self._probes.known(key)) is not None:
            starts, steps = probe.starts(states, starts), probe.steps(states, steps)
        return Prospects(starts, steps)

    def learn(
        self, text: Text, key: Key, ordinal: Ordinal, answer: slice, states: States | None = None
    ) -> None:
        """Count an answer that was copied from a place in a text."""
        start, end = answer.start, answer.stop
        if states is not None:
            prospects = self.prospects(text, key, states)
            self._probes.of(key).learn(states, prospects.starts_of(ordinal), prospects.steps, answer)
        began, went_on = slice(start, start + 1), slice(0, end - start - 1)
        steps = text.step_classes[start:end]
        for copies in (self._all, self._by_key.of(key)):
            copies.starts.count(text.start_classes, began)
            copies.steps.count(steps, went_on)
        copies.tokens.count(text.ids % _TOKEN_CLASSES, began)


def _in_order(rates: Rates, count: int) -> list[Rates]:
    """For each of ``count`` answers in the order of the text, how likely it begins at each token."""
    before, behind = [np.ones(len(rates))], [np.ones(len(rates))]
    for _ in range(count - 1):
        # Sums over all ways to choose so many tokens in front of each token, or behind it, by their rates.
        before.append(_shifted(np.cumsum(rates * before[-1])))
        behind.append(_shifted(np.cumsum((rates * behind[-1])[::-1]))[::-1])
    evenly = rates / rates.sum()
    ordered = []
    for place in range(count):
        chances = rates * before[place] * behind[count - 1 - place]
        total = chances.sum()
        ordered.append(_ORDERED * chances / total + (1 - _ORDERED) * evenly if total > 0 else evenly)
    return ordered


def _shifted(sums: Rates) -> Rates:
    return np.concatenate(([0.0], sums[:-1]))


def _expected_starts() -> Rates:
    rates = np.full((KINDS, 2, KINDS), 0.004)
    for kind, rate in ((Kind.CAPITAL, 0.5), (Kind.UPPER, 0.5), (Kind.DIGIT, 0.05), (Kind.CASELESS, 0.1)):
        rates[:, 1, kind] = rate
    rates[:, 1, Kind.LOWER] = 0.02
    rates[:, 1, Kind.MARK] = 0.01
    for before in (Kind.CAPITAL, Kind.UPPER):
        rates[before, 1, [Kind.CAPITAL, Kind.UPPER]] = 0.15
    return rates.ravel()


def _expected_steps() -> Rates:
    rates = np.full((KINDS, 2, KINDS, 2), 0.96)
    rates[:, 0, Kind.PART] = 0.99
    rates[:, 0, Kind.MARK] = 0.4
    rates[:, 1] = 0.03
    rates[:, 1, [Kind.LOWER, Kind.MARK], 1] = 0.15
    rates[:, 1, [Kind.CAPITAL, Kind.UPPER]] = 0.55
    rates[:, 1, Kind.DIGIT] = 0.2
    rates[:, 1, Kind.CASELESS] = 0.7
    return rates.ravel()

"""How often answers begin and go on at tokens of a kind, learned from the answers that went by.

Rates start from what names look like in European scripts and soon follow the stream: whatever the labels ask
for, also where names are written without capitals.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.engine.prefix_tree import TokenIds
from stream.engine.prompt_text import KINDS, Key, Text
from stream.engine.recent import Recent
from stream.engine.token_shapes import Kind

Rates = NDArray[np.float64]

_START_CLASSES = KINDS * 2 * KINDS
_STEP_CLASSES = KINDS * 2 * KINDS * 2
_TOKEN_CLASSES = 4096
_PLACES = 8
_EVENLY = 1 / _PLACES
_BELIEF = 8.0
"""Observations that an expectation weighs as much as."""
_KEYS = 256
_TAILS = 512


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


class CopyRates:
    """Bounded: of keys and tails the ones used last are kept."""

    def __init__(self) -> None:
        self._expected_starts, self._expected_steps = _expected_starts(), _expected_steps()
        self._all = _Copies()
        self._by_key: Recent[Key, _Copies] = Recent(lambda _: _Copies(), _KEYS)
        self._places: Recent[TokenIds, Tally] = Recent(lambda _: Tally(_PLACES), _TAILS)

    def starts(self, text: Text, key: Key, tail: TokenIds) -> Rates:
        """(T), how likely an answer begins at each token; adds up to 1."""
        rates = self._starts_anywhere(text, key)
        if (places := self._places.known(tail)) is not None:
            rates = rates * places.rates(_places(rates), _EVENLY)
        normalised: Rates = rates / rates.sum()
        return normalised

    def steps(self, text: Text, key: Key) -> Rates:
        """(T - 1), how likely an answer that holds a token goes on with the next."""
        classes = text.step_classes
        rates = self._all.steps.rates(classes, self._expected_steps[classes])
        if (known := self._by_key.known(key)) is not None:
            rates = known.steps.rates(classes, rates)
        return rates

    def _starts_anywhere(self, text: Text, key: Key) -> Rates:
        classes = text.start_classes
        rates = self._all.starts.rates(classes, self._expected_starts[classes])
        if (known := self._by_key.known(key)) is not None:
            rates = known.starts.rates(classes, rates)
            rates = known.tokens.rates(text.ids % _TOKEN_CLASSES, rates, 2.0)
        return rates

    def learn(self, text: Text, key: Key, tail: TokenIds, start: int, length: int) -> None:
        """Count an answer that was copied from a place in a text."""
        end = start + length
        place = _places(self._starts_anywhere(text, key))[start]
        began, went_on = slice(start, start + 1), slice(0, length - 1)
        steps = text.step_classes[start:end]
        for copies in (self._all, self._by_key.of(key)):
            copies.starts.count(text.start_classes, began)
            copies.steps.count(steps, went_on)
        copies.tokens.count(text.ids % _TOKEN_CLASSES, began)
        places = self._places.of(tail)
        places.seen += 1
        places.hits[place] += 1


def _places(starts: Rates) -> NDArray[np.int64]:
    """How many likely starts stand before each token, as a part of all: 0 to ``_PLACES`` - 1."""
    before = np.cumsum(starts)
    places: NDArray[np.int64] = ((before - starts / 2) * (_PLACES / before[-1])).astype(np.int64)
    return places


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

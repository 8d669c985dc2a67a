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
from stream.engine.state_probe import StateProbe, States
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


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is to be expected of the answers to one key over a text of T tokens.

    Attributes:
        starts: (T), how likely an answer begins at each token, up to a common factor.
        steps: (T - 1), how likely an answer that holds a token goes on with the next.
    """

    starts: Rates
    steps: Rates


class CopyRates:
    """Bounded: of keys and tails the ones used last are kept.

    Args:
        width: Of a token's states; 0: there are none.
    """

    def __init__(self, width: int = 0) -> None:
        self._expected_starts, self._expected_steps = _expected_starts(), _expected_steps()
        self._all = _Copies()
        self._by_key: Recent[Key, _Copies] = Recent(lambda _: _Copies(), _KEYS)
        self._probes: Recent[Key, StateProbe] = Recent(lambda _: StateProbe(width), _KEYS)
        self._places: Recent[TokenIds, Tally] = Recent(lambda _: Tally(_PLACES), _TAILS)

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

    def starts(self, prospects: Prospects, tail: TokenIds) -> Rates:
        """(T), how likely the answer to a prompt with a tail begins at each token; adds up to 1."""
        rates = prospects.starts
        if (places := self._places.known(tail)) is not None:
            rates = rates * places.rates(_places(rates), _EVENLY)
        normalised: Rates = rates / rates.sum()
        return normalised

    def learn(
        self, text: Text, key: Key, tail: TokenIds, answer: slice, states: States | None = None
    ) -> None:
        """Count an answer that was copied from a place in a text."""
        start, end = answer.start, answer.stop
        prospects = self.prospects(text, key, states)
        place = _places(prospects.starts)[start]
        if states is not None:
            starts = self.starts(prospects, tail)
            self._probes.of(key).learn(states, starts, prospects.steps, answer)
        began, went_on = slice(start, start + 1), slice(0, end - start - 1)
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
    # A start that is all but certain, and the last, can be rounded beyond the end.
    return np.minimum(places, _PLACES - 1)


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

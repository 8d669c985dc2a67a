"""Drafts copied from the prompt's own text (READER, arXiv 2508.09072; ANPD, arXiv 2404.08698).

An answer is usually a span of the text. Candidates are spans that start where answers are likely to start and
continue as far as they are likely to continue. One candidate serves all answers that are its prefixes, since
the logits show where the answer ends. Three drafters share one width:

- ``memory``: earlier answers to the same key that occur in this text;
- ``shape``: spans that look like answers;
- ``ngram``: after the first tokens of an answer, continuations of their last n-gram in the text.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from stream.engine.drafts.draft import START, Draft, DraftBuilder
from stream.engine.drafts.probe import Features, ValueFeatures
from stream.engine.drafts.rates import AnswerIndexer, CopyRates, LruTable, Rates, SpanRates
from stream.engine.prefix_tree import TokenIds
from stream.engine.prompt import CopySource, Key, PromptParts
from stream.engine.sequence import Sequence
from stream.engine.token_shapes import TokenShapes


class AnswerMemory:
    """Latest answers to one key.

    Args:
        most: Maximum number of distinct answers; the oldest is dropped first.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._answers: OrderedDict[TokenIds, int] = OrderedDict()
        self._by_first: dict[int, list[TokenIds]] = {}
        self._given = 0
        self._invented = 0

    def add(self, answer: TokenIds, *, copied: bool) -> None:
        """Remember an answer.

        Args:
            answer: At least one token.
            copied: Whether it occurs in the text of its prompt.
        """
        self._given += 1
        self._invented += not copied
        if answer not in self._answers:
            self._by_first.setdefault(answer[0], []).append(answer)
        self._answers[answer] = self._answers.pop(answer, 0) + 1
        if len(self._answers) > self._most:
            oldest, _ = self._answers.popitem(last=False)
            alike = self._by_first[oldest[0]]
            alike.remove(oldest)
            if not alike:
                del self._by_first[oldest[0]]

    def within(self, text: TokenIds) -> Iterator[tuple[int, int]]:
        """Occurrences of remembered answers in a text: start and length."""
        known = self._by_first
        for at, token in enumerate(text):
            for answer in known.get(token, ()):
                if text[at : at + len(answer)] == answer:
                    yield at, len(answer)

    def usual(self, most: int = 3) -> list[TokenIds]:
        """Most frequent answers, if most answers to this key are not copies."""
        if 2 * self._invented <= self._given:
            return []
        return sorted(self._answers, key=self._answers.__getitem__, reverse=True)[:most]


MEMORY, SHAPE, NGRAM = "memory", "shape", "ngram"

# On CoNLL-2003 with forced gold answers and the bundled model a document took 1.93 passes and 22.1 ms of CPU
# time at 0.06, 1.95 and 22.6 ms at 0.1, 1.99 and 22.6 ms at 0.2, and 4.73 passes and 34.8 ms without drafts;
# it drafted 10.1, 8.9 and 7.3 tokens. So a busy machine drafts less, but still drafts.
_MIN_PROBABILITY = 0.06
_MIN_PROBABILITY_BUSY = 0.2
_MAX_DEPTH = 16
_MAX_NGRAM = 4
_TEXTS = 256
_KEYS = 256
_FEATURE_TABLES = 16
_PREDICTIONS = 256
_REMEMBERED_STEP = math.log(0.9)
_REMEMBERED_START = 2.0


@dataclass(slots=True)
class _CachedFeatures:
    """Features of a text; None until all its tokens are cached."""

    features: Features | None = None


@dataclass(frozen=True, slots=True)
class _Prediction:
    """Cached draft statistics for one key over one text of T tokens.

    Attributes:
        rates: Expected answers.
        sums: (T), log-probability of continuing from the first token to each.
        remembered: Length of the longest remembered answer at a start.
    """

    rates: SpanRates
    sums: list[float]
    remembered: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Limits:
    """Limits of a draft.

    Attributes:
        depth: Maximum number of tokens of a span.
        probability: Minimum probability of a token.
    """

    depth: int
    probability: float


class CopyDrafter:
    """A ``Proposer`` that learns online from finished answers.

    Args:
        shapes: Of the model's tokens.
        features: Source of features of a text's tokens; None: drafts use no features.
    """

    def __init__(self, shapes: TokenShapes, features: ValueFeatures | None = None) -> None:
        self._shapes = shapes
        self._features = features
        self._rates = CopyRates(features.width if features is not None else 0)
        self._cached_features: LruTable[TokenIds, _CachedFeatures] = LruTable(
            lambda _: _CachedFeatures(), _FEATURE_TABLES
        )
        self._indexer = AnswerIndexer()
        self._memories: LruTable[Key, AnswerMemory] = LruTable(lambda _: AnswerMemory(), _KEYS)
        self._texts: LruTable[TokenIds, CopySource] = LruTable(
            lambda tokens: CopySource.analyse(tokens, shapes), _TEXTS
        )
        # Shared by the prompts of a label; learning invalidates them.
        self._predictions: dict[tuple[TokenIds, Key], _Prediction] = {}

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:
        """Draft spans of the prompt's text, the most likely first."""
        parts = sequence.parts or PromptParts.split(sequence.prompt.ids, self._shapes)
        if parts is None:
            return None
        sequence.parts = parts
        text = self._texts.get(parts.text)
        if sequence.features is None:
            sequence.features = self._features_of(sequence, parts)
        depth = min(_MAX_DEPTH, sequence.remaining - 1)
        limits = _Limits(depth, _MIN_PROBABILITY_BUSY if busy else _MIN_PROBABILITY)
        builder = DraftBuilder(width)
        if depth and sequence.produced:
            self._continue(builder, text, sequence, parts, limits)
        elif depth:
            self._start(builder, text, sequence, parts, limits)
        return builder.build()

    def learn(self, sequence: Sequence) -> None:
        """Learn from an answer's position in its text, and remember the answer."""
        parts, answer = sequence.parts, tuple(sequence.produced)
        if parts is None or not answer:
            return
        text = self._texts.get(parts.text)
        start = text.find(answer)
        if start is not None:
            span = slice(start, start + len(answer))
            index = self._indexer.of(parts.tail)
            self._rates.learn(text, parts.key, index, span, sequence.features)
        self._memories.get(parts.key).add(answer, copied=start is not None)
        self._predictions.clear()

    def _features_of(self, sequence: Sequence, parts: PromptParts) -> Features | None:
        """Features of a text, computed once for all its prompts."""
        if self._features is None:
            return None
        cached = self._cached_features.get(parts.text)
        if cached.features is None:
            cached.features = self._features.of(sequence, parts)
        return cached.features

    def _predict(self, text: CopySource, sequence: Sequence, parts: PromptParts) -> _Prediction:
        at = (parts.text, parts.key)
        prediction = self._predictions.get(at)
        if prediction is None:
            if len(self._predictions) >= _PREDICTIONS:
                self._predictions.clear()
            rates = self._rates.predict(text, parts.key, sequence.features)
            remembered: dict[int, int] = {}
            for start, length in self._memories.get(parts.key).within(text.tokens):
                remembered[start] = max(remembered.get(start, 0), length)
            sums = [0.0, *np.cumsum(np.log(rates.steps)).tolist()]
            prediction = self._predictions[at] = _Prediction(rates, sums, remembered)
        return prediction

    def _start(
        self,
        builder: DraftBuilder,
        text: CopySource,
        sequence: Sequence,
        parts: PromptParts,
        limits: _Limits,
    ) -> None:
        for answer in self._memories.get(parts.key).usual():
            builder.add_chain(answer[: limits.depth], MEMORY)
        prediction = self._predict(text, sequence, parts)
        starts = prediction.rates.starts_of(self._indexer.of(parts.tail)).copy()
        starts[list(prediction.remembered)] *= _REMEMBERED_START
        _add_spans(builder, text, starts / starts.sum(), prediction, limits=limits, source=SHAPE)

    def _continue(
        self,
        builder: DraftBuilder,
        text: CopySource,
        sequence: Sequence,
        parts: PromptParts,
        limits: _Limits,
    ) -> None:
        lengths = np.zeros(len(text.ids), np.int64)
        matches = np.ones(len(text.ids), np.bool_)
        for length, token in enumerate(sequence.produced[: -_MAX_NGRAM - 1 : -1], 1):
            matches[:length] = False
            matches[length:] &= text.ids[:-length] == token
            lengths[matches] = length
        if not lengths.any():
            return
        weights = np.where(lengths > 0, 8.0**lengths, 0.0)
        prediction = self._predict(text, sequence, parts)
        starts = weights / weights.sum()
        starts[1:] *= prediction.rates.steps
        _add_spans(builder, text, starts, replace(prediction, remembered={}), limits=limits, source=NGRAM)


def _add_spans(
    builder: DraftBuilder,
    text: CopySource,
    starts: Rates,
    prediction: _Prediction,
    *,
    limits: _Limits,
    source: str,
) -> None:
    """Add the most likely tokens of all spans, each after the one before it.

    Args:
        builder: Receives them.
        text: T tokens.
        starts: (T), probability that the answer starts or continues at each token.
        prediction: Of the answers.
        limits: Of the draft.
        source: Drafter of tokens outside remembered answers.
    """
    least, remembered, sums = math.log(limits.probability), prediction.remembered, prediction.sums
    # The next token of every span: negated score, start of the span, position, parent in the draft.
    waiting = []
    for start in np.flatnonzero(starts > limits.probability).tolist():
        score = math.log(starts[start]) + (_REMEMBERED_STEP if start in remembered else 0.0)
        if score > least:
            waiting.append((-score, start, start, START))
    heapify(waiting)
    while waiting:
        negated, start, at, parent = heappop(waiting)
        inside = at - start < remembered.get(start, 0)
        index = builder.add(parent, text.tokens[at], MEMORY if inside else source)
        following = at + 1
        if index is None or following - start >= limits.depth or following == len(text.tokens):
            continue
        score = math.log(starts[start])
        if following - start < remembered.get(start, 0):
            score += _REMEMBERED_STEP
        else:
            score += sums[following] - sums[start]
        score = min(score, -negated)
        if score > least:
            heappush(waiting, (-score, start, following, index))

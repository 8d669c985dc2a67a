"""Drafts copied from the prompt's own text (READER, arXiv 2508.09072; ANPD, arXiv 2404.08698).

An answer is, as a rule, a piece of the text. Candidates are pieces that begin where answers are likely to
begin and run on as far as they are likely to run; one run stands for all answers that begin with it, since
where the answer ends shows in the logits. Three drafters share one width:

- ``memory``: answers to the same key that went by before and stand in this text;
- ``shape``: pieces that look like answers;
- ``ngram``: once something is produced, what follows its last tokens in the text.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from stream.engine.drafts.draft import START, Draft, DraftBuilder
from stream.engine.drafts.probe import CachedStates, States
from stream.engine.drafts.rates import CopyRates, Ordinals, Prospects, Rates, Recent
from stream.engine.prefix_tree import TokenIds
from stream.engine.prompt import Key, Question, Text, find, read_question
from stream.engine.sequence import Sequence
from stream.engine.token_shapes import TokenShapes


class AnswerMemory:
    """The answers given last to one key.

    Args:
        most: Answers remembered; the ones given longest ago go first.
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
            copied: Whether it stands in the text it was given for.
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
        """Where remembered answers stand in a text: start and length."""
        known = self._by_first
        for at, token in enumerate(text):
            for answer in known.get(token, ()):
                if text[at : at + len(answer)] == answer:
                    yield at, len(answer)

    def usual(self, most: int = 3) -> list[TokenIds]:
        """The commonest answers, where answers to this key are no copies as a rule."""
        if 2 * self._invented <= self._given:
            return []
        return sorted(self._answers, key=self._answers.__getitem__, reverse=True)[:most]


MEMORY, SHAPE, NGRAM = "memory", "shape", "ngram"

# On CoNLL-2003 with forced gold answers and the bundled model a document took 1.93 passes and 22.1 ms of CPU
# time at 0.06, 1.95 and 22.6 ms at 0.1, 1.99 and 22.6 ms at 0.2, and 4.73 passes and 34.8 ms without drafts;
# it drafted 10.1, 8.9 and 7.3 tokens. So a busy machine drafts less, but still drafts.
_LEAST_CHANCE = 0.06
_LEAST_CHANCE_BUSY = 0.2
_LONGEST = 16
_LEVELS = 4
_TEXTS = 256
_KEYS = 256
_LOOKED_AT = 16
_OUTLOOKS = 256
_REMEMBERED_STEP = math.log(0.9)
_REMEMBERED_START = 2.0


@dataclass(slots=True)
class _Looked:
    """The states of a text, once they were there."""

    states: States | None = None


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What drafts of one key over a text of T tokens are made from.

    Attributes:
        prospects: Where answers begin, and how likely they go on.
        sums: (T), log-probability of going on from the first token to each.
        known: Length of the remembered answer that begins at a token, where there is one.
    """

    prospects: Prospects
    sums: list[float]
    known: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is worth drafting.

    Attributes:
        depth: Most tokens of a piece.
        least: Probability below which a token is left out.
    """

    depth: int
    least: float


class CopyDrafter:
    """A ``Proposer`` that learns from the answers as they go by.

    Args:
        shapes: Of the model's tokens.
        states: What the model holds of a text's tokens; None: it is not looked at.
    """

    def __init__(self, shapes: TokenShapes, states: CachedStates | None = None) -> None:
        self._shapes = shapes
        self._states = states
        self._rates = CopyRates(states.width if states is not None else 0)
        self._looked_at: Recent[TokenIds, _Looked] = Recent(lambda _: _Looked(), _LOOKED_AT)
        self._ordinals = Ordinals()
        self._memories: Recent[Key, AnswerMemory] = Recent(lambda _: AnswerMemory(), _KEYS)
        self._texts: Recent[TokenIds, Text] = Recent(lambda tokens: Text.analyse(tokens, shapes), _TEXTS)
        # The prompts of a label share them; what is learned makes them old.
        self._outlooks: dict[tuple[TokenIds, Key], _Outlook] = {}

    def propose(self, sequence: Sequence, width: int, *, busy: bool) -> Draft | None:
        """Pieces of the prompt's text, the likeliest first."""
        question = sequence.question or read_question(sequence.prompt.ids, self._shapes)
        if question is None:
            return None
        sequence.question = question
        text = self._texts.of(question.text)
        if sequence.states is None:
            sequence.states = self._states_of(sequence, question)
        depth = min(_LONGEST, sequence.remaining - 1)
        scope = _Scope(depth, _LEAST_CHANCE_BUSY if busy else _LEAST_CHANCE)
        builder = DraftBuilder(width)
        if depth and sequence.produced:
            self._continue(builder, text, sequence, question, scope)
        elif depth:
            self._begin(builder, text, sequence, question, scope)
        return builder.build()

    def learn(self, sequence: Sequence, accepted: int, following: Tokens[int]) -> None:
        """Single passes teach nothing that the whole answer does not."""

    def finish(self, sequence: Sequence) -> None:
        """Learn from an answer where it stands in its text, and remember it."""
        question, answer = sequence.question, tuple(sequence.produced)
        if question is None or not answer:
            return
        text = self._texts.of(question.text)
        start = find(answer, text)
        if start is not None:
            span = slice(start, start + len(answer))
            ordinal = self._ordinals.of(question.tail)
            self._rates.learn(text, question.key, ordinal, span, sequence.states)
        self._memories.of(question.key).add(answer, copied=start is not None)
        self._outlooks.clear()

    def _states_of(self, sequence: Sequence, question: Question) -> States | None:
        """Looked up once for all prompts over a text."""
        if self._states is None:
            return None
        looked = self._looked_at.of(question.text)
        if looked.states is None:
            looked.states = self._states.of(sequence, question)
        return looked.states

    def _expect(self, text: Text, sequence: Sequence, question: Question) -> _Outlook:
        at = (question.text, question.key)
        outlook = self._outlooks.get(at)
        if outlook is None:
            if len(self._outlooks) >= _OUTLOOKS:
                self._outlooks.clear()
            prospects = self._rates.prospects(text, question.key, sequence.states)
            known: dict[int, int] = {}
            for start, length in self._memories.of(question.key).within(text.tokens):
                known[start] = max(known.get(start, 0), length)
            sums = [0.0, *np.cumsum(np.log(prospects.steps)).tolist()]
            outlook = self._outlooks[at] = _Outlook(prospects, sums, known)
        return outlook

    def _begin(
        self, builder: DraftBuilder, text: Text, sequence: Sequence, question: Question, scope: _Scope
    ) -> None:
        for answer in self._memories.of(question.key).usual():
            builder.add_chain(answer[: scope.depth], MEMORY)
        outlook = self._expect(text, sequence, question)
        starts = outlook.prospects.starts_of(self._ordinals.of(question.tail)).copy()
        starts[list(outlook.known)] *= _REMEMBERED_START
        _add_pieces(builder, text, starts / starts.sum(), outlook, scope=scope, source=SHAPE)

    def _continue(
        self, builder: DraftBuilder, text: Text, sequence: Sequence, question: Question, scope: _Scope
    ) -> None:
        levels = np.zeros(len(text.ids), np.int64)
        alike = np.ones(len(text.ids), np.bool_)
        for level, token in enumerate(sequence.produced[: -_LEVELS - 1 : -1], 1):
            alike[:level] = False
            alike[level:] &= text.ids[:-level] == token
            levels[alike] = level
        if not levels.any():
            return
        weights = np.where(levels > 0, 8.0**levels, 0.0)
        outlook = self._expect(text, sequence, question)
        starts = weights / weights.sum()
        starts[1:] *= outlook.prospects.steps
        _add_pieces(builder, text, starts, replace(outlook, known={}), scope=scope, source=NGRAM)


def _add_pieces(
    builder: DraftBuilder, text: Text, starts: Rates, outlook: _Outlook, *, scope: _Scope, source: str
) -> None:
    """Add the likeliest tokens of all pieces, each after the one before it.

    Args:
        builder: Takes them.
        text: T tokens.
        starts: (T), how likely the answer goes on at each token.
        outlook: How likely pieces run on.
        scope: What is worth drafting.
        source: Who drafts what is not remembered.
    """
    least, known, sums = math.log(scope.least), outlook.known, outlook.sums
    # The next token of every piece: how unlikely it is, where the piece begins, where it is, what it follows.
    waiting = []
    for begin in np.flatnonzero(starts > scope.least).tolist():
        score = math.log(starts[begin]) + (_REMEMBERED_STEP if begin in known else 0.0)
        if score > least:
            waiting.append((-score, begin, begin, START))
    heapify(waiting)
    while waiting:
        unlikely, begin, at, parent = heappop(waiting)
        remembered = at - begin < known.get(begin, 0)
        index = builder.add(parent, text.tokens[at], MEMORY if remembered else source)
        following = at + 1
        if index is None or following - begin >= scope.depth or following == len(text.tokens):
            continue
        score = math.log(starts[begin])
        if following - begin < known.get(begin, 0):
            score += _REMEMBERED_STEP
        else:
            score += sums[following] - sums[begin]
        score = min(score, -unlikely)
        if score > least:
            heappush(waiting, (-score, begin, following, index))

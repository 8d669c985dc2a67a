"""Predictions of another system, as answers to annotated documents."""

import json
import re
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from textwrap import shorten

from stream.contract.messages import Entity, Policy
from stream.corpora.document import AnnotatedDocument
from stream.corpora.parsing import OffsetTable
from stream.corpora.predictions import PredictedDocument, PredictedMention
from stream.corpora.tokens import is_cjk
from stream.errors import ConfigurationError
from stream.evaluation.runner import Settled
from stream.ner.calibration import Calibration
from stream.ner.deduplicate import deduplicate
from stream.offsets import OffsetUnit

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class PredictedAnswer:
    """Another system's answer to one document.

    Attributes:
        document: The document asked about.
        entities: All entities predicted, as the system spelt them. Mentions that are not in the text lie
            behind its end, where nothing is annotated.
        named: Whether a prediction names the document.
        counts: None, since nothing was counted.
    """

    document: AnnotatedDocument
    entities: tuple[Entity, ...]
    named: bool = True
    counts: None = None

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:  # noqa: ARG002 - for models
        """De-duplicate by the same rules as a model's own answers; scores stay as they are."""
        settled = deduplicate(self.entities, policy)
        return Settled(settled.entities, settled.removed)


def match(
    file: Path, predictions: Sequence[PredictedDocument], documents: Sequence[AnnotatedDocument]
) -> list[PredictedAnswer]:
    """Give every document its predictions: by id where that names a document, and else by text.

    Of documents with one text, the first goes with the first prediction for it, and so on. A document that no
    prediction names has an answer without entities, so that there is one for every document.

    Args:
        file: The file of the predictions, for messages.
        predictions: The content of the file.
        documents: All documents that the predictions may be about.

    Raises:
        ConfigurationError: A prediction is about no document, or a mention has a wrong place or score.
    """
    free = _UnclaimedDocuments(documents)
    mentions: dict[int, tuple[PredictedMention, ...]] = {}
    for number, predicted in enumerate(predictions, start=1):
        try:
            mentions[free.take(predicted)] = predicted.mentions
        except LookupError as error:
            raise ConfigurationError(f"{file}, prediction {number}: {error.args[0]}") from error
    answers = []
    for index, document in enumerate(documents):
        try:
            entities = tuple(_placed(document, mentions.get(index, ())))
        except ValueError as error:
            name = document.id or _short(document.text)
            raise ConfigurationError(f"{file}: in document {name}, {error}") from error
        answers.append(PredictedAnswer(document, entities, named=index in mentions))
    return answers


class _UnclaimedDocuments:
    """Documents that have no prediction yet."""

    def __init__(self, documents: Sequence[AnnotatedDocument]) -> None:
        self._documents = documents
        self._of_id: dict[str, deque[int]] = defaultdict(deque)
        self._of_text: dict[str, deque[int]] = defaultdict(deque)
        self._taken: set[int] = set()
        for index, document in enumerate(documents):
            self._of_id[document.id].append(index)
            self._of_text[document.text].append(index)

    def take(self, predicted: PredictedDocument) -> int:
        """The index of a prediction's document, which is taken then.

        Raises:
            LookupError: There is none.
        """
        name = predicted.id or _short(predicted.text)
        index = self._next(self._of_id[predicted.id] if predicted.id else deque())
        if index is None:
            # The authors' files number their texts, which names no document of ours.
            index = self._next(self._of_text[predicted.text])
        if index is None:
            raise LookupError(f"no document of the data is {name}, or it has a prediction already")
        self._taken.add(index)
        if predicted.text and predicted.text != (text := self._documents[index].text):
            raise LookupError(f"its text is {_short(predicted.text)}, and document {name} has {_short(text)}")
        return index

    def _next(self, indices: deque[int]) -> int | None:
        """The first that is not taken, for good."""
        while indices:
            if (index := indices.popleft()) not in self._taken:
                return index
        return None


def _placed(document: AnnotatedDocument, mentions: Sequence[PredictedMention]) -> Iterator[Entity]:
    """Mentions at their own offsets, or else where the text has them letter by letter.

    Raises:
        ValueError: A mention has offsets or a score that cannot be.
    """
    table = OffsetTable(document.text, OffsetUnit.CODE_POINTS)
    occurrences = cache(partial(_occurrences, document.text))
    searches: dict[str, _Search] = defaultdict(lambda: _Search(occurrences))
    behind = _Behind(document.text)
    for mention in mentions:
        if not 0 <= mention.score <= 1:
            raise ValueError(f"{_short(mention.text)} has the score {mention.score}, which is no probability")
        if not mention.text:
            continue
        if mention.start is not None:
            start, end = table.span(mention.start, mention.end, mention.text)
        else:
            found = searches[mention.label].next(mention.text)
            start = behind.place(mention.text) if found is None else found
            end = start + len(mention.text)
        yield Entity(
            text=mention.text, label=mention.label, start=start, end=end, score=mention.score, count_score=1.0
        )


def _occurrences(text: str, mention: str) -> tuple[list[int], list[int]]:
    """Starts of a mention in the text: those of whole words, and those within longer words."""
    whole: list[int] = []
    inside: list[int] = []
    for found in re.finditer(re.escape(mention), text):
        part = _in_word(text, found.start()) or _in_word(text, found.end())
        (inside if part else whole).append(found.start())
    return whole, inside


def _in_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    return before.isalnum() and after.isalnum() and not (is_cjk(before) and is_cjk(after))


class _Search:
    """Places of one label's mentions, which most systems report in the order of the text.

    A mention goes to its next occurrence after the mention before it, or else to the first that is free.
    """

    def __init__(self, occurrences: Callable[[str], tuple[list[int], list[int]]]) -> None:
        self._occurrences = occurrences
        self._position = 0
        self._skips: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)

    def next(self, mention: str) -> int | None:
        """Start of a mention; a repeat's where all its occurrences are taken, None where there are none."""
        kinds = self._occurrences(mention)
        for kind, starts in enumerate(kinds):
            skips = self._skips[mention, kind]
            for first in (bisect_left(starts, self._position), 0):
                index = _free(skips, first)
                if index < len(starts):
                    skips[index] = index + 1
                    self._position = starts[index] + len(mention)
                    return starts[index]
        return next((starts[0] for starts in kinds if starts), None)


def _free(skips: dict[int, int], index: int) -> int:
    """The first index from here on that is no key; leaves short cuts behind, so that runs are cheap."""
    passed = []
    while index in skips:
        passed.append(index)
        index = skips[index]
    skips.update(dict.fromkeys(passed, index))
    return index


class _Behind:
    """Places behind a text's end, one for every mention text, so that repeats and labels of it compete."""

    def __init__(self, text: str) -> None:
        self._next = len(text)
        self._places: dict[str, int] = {}

    def place(self, mention: str) -> int:
        """Start of a mention that is not in the text."""
        if mention not in self._places:
            self._places[mention] = self._next
            self._next += len(mention)
        return self._places[mention]


def _short(text: str) -> str:
    return json.dumps(shorten(text, _SHOWN, placeholder="..."), ensure_ascii=False)

"""Predictions of another system, as answers to annotated documents."""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from stream.contract.messages import Entity, Policy
from stream.corpora.document import AnnotatedDocument
from stream.corpora.predictions import PredictedDocument, PredictedMention
from stream.errors import ConfigurationError
from stream.evaluation.runner import Settled
from stream.ner.calibration import Calibration
from stream.ner.deduplicate import deduplicate
from stream.ner.spans import Grounder, Span

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class PredictedAnswer:
    """Another system's answer to one document.

    Attributes:
        document: What was asked about.
        entities: All that it predicted, as it spelt them. What is not in the text lies behind the text's end,
            where nothing is annotated.
        named: Whether a prediction names the document.
        counts: None, since nothing was counted.
    """

    document: AnnotatedDocument
    entities: tuple[Entity, ...]
    named: bool = True
    counts: None = None

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:
        """De-duplicate by the same rules as a model's own answers."""
        scored = (
            self.entities if calibration is None else [_scored(one, calibration) for one in self.entities]
        )
        settled = deduplicate(scored, policy)
        return Settled(settled.entities, settled.removed)


def match(
    file: Path, predictions: Sequence[PredictedDocument], documents: Sequence[AnnotatedDocument]
) -> list[PredictedAnswer]:
    """Give every document its predictions: by id where that names a document, and else by text.

    Of documents with one text, the first goes with the first prediction for it, and so on. A document that no
    prediction names has an answer without entities, so that there is one for every document.

    Args:
        file: Where the predictions are from, for messages.
        predictions: What the file holds.
        documents: All that the predictions may be about.

    Raises:
        ConfigurationError: A prediction is about no document, or says of a mention what cannot be.
    """
    free = _Free(documents)
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


class _Free:
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
            raise LookupError(f"no document of the data, or none that is left, is {name}")
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
    """Mentions at their own offsets, or else where the text has them in the order of their label.

    Raises:
        ValueError: A mention has offsets or a score that cannot be.
    """
    spans: dict[int, Span | None] = {}
    grounder = Grounder(document.text)
    for label in {mention.label for mention in mentions}:
        indices = [index for index, mention in enumerate(mentions) if mention.label == label]
        found = grounder.align([mentions[index].text for index in indices])
        spans |= dict(zip(indices, found, strict=True))
    behind = _Behind(document.text)
    for index, mention in enumerate(mentions):
        if not 0 <= mention.score <= 1:
            raise ValueError(f"{_short(mention.text)} has the score {mention.score}, which is no probability")
        own = None if mention.start is None or mention.end is None else (mention.start, mention.end)
        span = own or spans[index]
        if span is None or document.text[slice(*span)] != mention.text:
            if own:
                raise ValueError(f"{_short(mention.text)} is said to be at {own}, where the text has another")
            span = behind.place(mention.text)
        if mention.text:
            yield Entity(
                text=mention.text,
                label=mention.label,
                start=span[0],
                end=span[1],
                score=mention.score,
                count_score=1.0,
            )


class _Behind:
    """Places behind a text's end, one for every mention text, so that repeats and labels of it compete."""

    def __init__(self, text: str) -> None:
        self._next = len(text)
        self._places: dict[str, tuple[int, int]] = {}

    def place(self, mention: str) -> tuple[int, int]:
        if mention not in self._places:
            self._places[mention] = (self._next, self._next + len(mention))
            self._next += len(mention)
        return self._places[mention]


def _scored(entity: Entity, calibration: Calibration) -> Entity:
    return entity.model_copy(update={"score": calibration.of(entity.label).probability(entity.score)})


def _short(text: str) -> str:
    return json.dumps(shorten(text, _SHOWN, placeholder="..."), ensure_ascii=False)

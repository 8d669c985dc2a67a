"""Hallucination and drift: mentions that no text has, and answers that change without a reason.

Answers to a text and to a variant of it are compared by places that the variant leaves as they are: an
entity's borders in characters other than white space.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.contract.messages import Entity
from stream.contract.reasons import RemovalReason
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.evaluation.count_errors import Recorder
from stream.evaluation.runner import ModelAnswer
from stream.evaluation.scores import Accuracy, Score
from stream.ner.template import PromptTemplate

Places = frozenset[tuple[str, int, int]]
"""Label, start and end of entities, both in characters other than white space."""

_BEFORE_PUNCTUATION = re.compile(r" (?=(?:[.,;:!?]|'s)(?: |$))")
_WORDS_OF_A_LINE = re.compile(r"((?:\S+ ){5}\S+) ")


def _cased(change: Callable[[str], str]) -> Callable[[str], str]:
    """A change of case that leaves characters whose number it would change as they are."""

    def changed(text: str) -> str:
        return "".join(change(each) if len(change(each)) == 1 else each for each in text)

    return changed


VARIANTS: Mapping[str, Callable[[str], str]] = {
    "spaces doubled": lambda text: text.replace(" ", "  "),
    "lines of six words": lambda text: _WORDS_OF_A_LINE.sub(r"\1\n", text),
    "no space before punctuation": lambda text: _BEFORE_PUNCTUATION.sub("", text),
    "lower case": _cased(str.lower),
    "upper case": _cased(str.upper),
}
"""Changes of white space and case by name; the same characters are left, but for their case."""


def nameless_texts() -> dict[str, list[str]]:
    """Texts without a name, by kind: encyclopedic prose, source code, other languages, empty forms."""
    texts: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("nameless.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts.setdefault(row["kind"], []).append(row["text"])
    return texts


def places(text: str, entities: Iterable[Entity | GoldEntity]) -> Places:
    """Places of a text's entities."""
    visible = [0]
    for character in text:
        visible.append(visible[-1] + (not character.isspace()))
    return frozenset((entity.label, visible[entity.start], visible[entity.end]) for entity in entities)


@dataclass(frozen=True, slots=True)
class Mentions:
    """Mentions that a model wrote, and what became of them; sums add up over documents.

    Attributes:
        written: All of them.
        foreign: Those that are not in the text letter by letter, all white space being equal.
        ungrounded: Those that were removed because no place in the text was found for them.
        published: Entities after alignment and de-duplication.
        published_foreign: Entities whose text is not that of their place.
    """

    written: int = 0
    foreign: int = 0
    ungrounded: int = 0
    published: int = 0
    published_foreign: int = 0

    @classmethod
    def of(cls, text: str, written: Sequence[str], settled: Sequence[Entity], ungrounded: int) -> "Mentions":
        """Of one text."""
        spelt = " ".join(text.split())
        return cls(
            len(written),
            sum(" ".join(mention.split()) not in spelt for mention in written),
            ungrounded,
            len(settled),
            sum(entity.text != text[entity.start : entity.end] for entity in settled),
        )

    def __add__(self, other: "Mentions") -> "Mentions":
        return Mentions(
            self.written + other.written,
            self.foreign + other.foreign,
            self.ungrounded + other.ungrounded,
            self.published + other.published,
            self.published_foreign + other.published_foreign,
        )


def written_mentions(answer: ModelAnswer, recorder: Recorder, template: PromptTemplate) -> Iterator[str]:
    """A document's mentions as the model wrote them, before they were aligned with the text.

    Args:
        answer: The model's.
        recorder: It stood before the generator that answered.
        template: The model's prompts.
    """
    for reading in answer.found.windows:
        prefix = template.prefix_ids(reading.window.ids)
        for label in answer.found.labels:
            counting, count = template.count_prompt(prefix, label.ids), reading.counts.get(label.name, 0)
            for k in range(1, count + 1):
                prompt = template.mention_prompt(counting, count, k)
                yield template.decode_mention(recorder.completions[prompt.ids].ids)


@dataclass(frozen=True, slots=True)
class Answered:
    """A text and what the service would publish about it.

    Attributes:
        document: The text, with its annotation.
        entities: Those published.
        mentions: What the model wrote.
    """

    document: AnnotatedDocument
    entities: Sequence[Entity]
    mentions: Mentions

    @property
    def found(self) -> Places:
        """Places of the entities."""
        return places(self.document.text, self.entities)

    @property
    def gold(self) -> Places:
        """Places of the annotation."""
        return places(self.document.text, self.document.entities)


def varied(document: AnnotatedDocument, change: Callable[[str], str]) -> AnnotatedDocument:
    """A document with a changed text, and its entities where they are now.

    Args:
        document: The document.
        change: One of ``VARIANTS``: it moves, adds or removes white space, and changes case.

    Raises:
        ValueError: The change does more than that.
    """
    text = change(document.text)
    if _visible(text).casefold() != _visible(document.text).casefold():
        raise ValueError(f"{document.id}: the variant changes more than white space and case")
    at = [number for number, character in enumerate(text) if not character.isspace()]
    moved = []
    for entity in document.entities:
        before = len(_visible(document.text[: entity.start]))
        start, end = at[before], at[before + len(_visible(entity.text)) - 1] + 1
        moved.append(GoldEntity(start=start, end=end, text=text[start:end], label=entity.label))
    return AnnotatedDocument(id=document.id, text=text, entities=tuple(moved))


def answered(answer: ModelAnswer, settled: Sequence[Entity], written: Sequence[str]) -> Answered:
    """Figures of an answer.

    Args:
        answer: The model's.
        settled: Its entities after de-duplication.
        written: From ``written_mentions``.
    """
    ungrounded = sum(
        one.reason == RemovalReason.UNGROUNDED for reading in answer.found.windows for one in reading.removed
    )
    mentions = Mentions.of(answer.document.text, written, settled, ungrounded)
    return Answered(answer.document, settled, mentions)


def invented(answers: Iterable[Answered], labels: Sequence[str]) -> Accuracy:
    """Pairs of a text and a label that the annotation does not have there, and that were answered, of all."""
    total = Accuracy()
    for each in answers:
        there = {entity.label for entity in each.document.entities}
        said = {entity.label for entity in each.entities}
        absent = set(labels) - there
        total += Accuracy(len(absent & said), len(absent))
    return total


@dataclass(frozen=True, slots=True)
class Change:
    """Answers beside those to the texts as they were.

    Attributes:
        documents: Documents whose answer has another entity, one less or one more, of all.
        entities: The entities of the one answer that are in the other too, and those that are not; ``f1``
            is the agreement of both.
        score: Of the new answers against the annotation, by place.
    """

    documents: Accuracy
    entities: Score
    score: Score

    @classmethod
    def of(cls, before: Sequence[Answered], after: Sequence[Answered]) -> "Change":
        """Compare two answers to each document."""
        documents, entities, score = Accuracy(), Score(), Score()
        for old, new in zip(before, after, strict=True):
            documents += Accuracy(int(old.found != new.found), 1)
            entities += Score.of(new.found, old.found)
            score += Score.of(new.found, new.gold)
        return cls(documents, entities, score)


def _visible(text: str) -> str:
    return "".join(character for character in text if not character.isspace())

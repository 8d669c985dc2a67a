"""An extractor's answers to annotated documents, and their scores."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream.aio import all_of
from stream.contract.messages import Document, Entity, Policy, Removed
from stream.corpora.document import AnnotatedDocument
from stream.evaluation.alignment import Matches, align, matches
from stream.evaluation.reliability import Judged
from stream.evaluation.scores import Accuracy, Score
from stream.ner.calibration import Calibration
from stream.ner.extractor import Extractor
from stream.ner.postprocess import RawExtraction, postprocess


@dataclass(frozen=True, slots=True)
class Settled:
    """Attributes: ``entities``, those kept; ``removed``, all others, with reasons."""

    entities: list[Entity]
    removed: list[Removed]


class Answer(Protocol):
    """One document's answer, to be post-processed under any policy.

    Attributes:
        document: What was asked about.
        counts: Counted mentions by label, None for a system that does not count; a label whose count could
            not be read is absent.
    """

    @property
    def document(self) -> AnnotatedDocument: ...  # noqa: D102 - an attribute

    @property
    def counts(self) -> Mapping[str, int] | None: ...  # noqa: D102 - an attribute

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:
        """De-duplicate.

        Args:
            policy: What is kept when entities compete.
            calibration: Makes probabilities of the scores first.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model's answer, by parallel decoding.

    Attributes:
        document: What was asked about.
        found: The model's answers, not yet post-processed.
        threshold: Lowest score of an entity.
    """

    document: AnnotatedDocument
    found: RawExtraction
    threshold: float

    @property
    def counts(self) -> Mapping[str, int]:
        """The model's counts by label."""
        return self.found.counts()

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:
        """De-duplicate, as the service does."""
        extraction = postprocess(self.found, policy=policy, threshold=self.threshold, calibration=calibration)
        return Settled(extraction.entities, extraction.removed)


@dataclass(slots=True)
class Evaluation:
    """Scores over documents.

    Attributes:
        documents: Documents scored.
        by_label: Micro-F1's counts over sets of mention texts: a document's predicted mentions of a label are
            a set of texts, compared with the set of its gold texts (PaDeLLM-NER, section 4).
        matches: The counts of the scores over places, by label.
        judged: Every entity's score, with whether it is right.
        counts: Pairs of a document and a label whose counted mentions are as many as the gold entities
            (places, not texts), of all pairs. Counts of several windows add up, so an entity in their
            overlap counts twice. An unreadable count is wrong. A system without counts has no pairs.
        counts_present: The same over the pairs with at least one gold entity.
        removed: Removed mentions by reason.
        seconds: Wall time of the answers; 0 if it was not measured.
    """

    by_label: dict[str, Score]
    documents: int = 0
    matches: dict[str, Matches] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    counts: Accuracy = field(default_factory=Accuracy)
    counts_present: Accuracy = field(default_factory=Accuracy)
    removed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def score(self) -> Score:
        """Micro-average over all labels."""
        return sum(self.by_label.values(), Score())

    @property
    def all_matches(self) -> Matches:
        """Matches of all labels."""
        return sum(self.matches.values(), Matches())

    def add(self, answer: Answer, policy: Policy, calibration: Calibration | None) -> None:
        """Count one document in, without its entities under labels that ``by_label`` lacks."""
        settled = answer.settle(policy, calibration)
        self.documents += 1
        self.removed.update(one.reason for one in settled.removed)
        self._add_texts(answer.document, settled.entities)
        self._add_places(answer.document, settled.entities)
        if answer.counts is not None:
            self._add_counts(answer.document, answer.counts)

    def _add_texts(self, document: AnnotatedDocument, entities: Sequence[Entity]) -> None:
        gold: dict[str, list[str]] = {label: [] for label in self.by_label}
        predicted: dict[str, list[str]] = {label: [] for label in self.by_label}
        for texts, found in ((gold, document.entities), (predicted, entities)):
            for entity in found:
                if entity.label in texts:
                    texts[entity.label].append(entity.text)
        for label in self.by_label:
            self.by_label[label] += Score.of(predicted[label], gold[label])

    def _add_places(self, document: AnnotatedDocument, entities: Sequence[Entity]) -> None:
        alignment = align(entities, document.entities)
        for label, found in matches(alignment, list(self.by_label)).items():
            self.matches[label] = self.matches.get(label, Matches()) + found
        right = [(entity, True) for entity, _ in alignment.exact]
        wrong = [(entity, False) for entity, _ in alignment.overlapping]
        wrong += [(entity, False) for entity in alignment.wrong]
        self.judged += [
            Judged(entity.label, entity.score, is_right)
            for entity, is_right in (*right, *wrong)
            if entity.label in self.by_label
        ]

    def _add_counts(self, document: AnnotatedDocument, counts: Mapping[str, int]) -> None:
        gold = Counter(entity.label for entity in document.entities)
        for label in self.by_label:
            right = Accuracy(int(counts.get(label) == gold[label]), 1)
            self.counts += right
            if gold[label]:
                self.counts_present += right


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers.

    Attributes:
        answers: In the order of the documents.
        latencies: Seconds that each document took, in the same order.
        seconds: Wall time of all.
    """

    answers: list[ModelAnswer]
    latencies: list[float]
    seconds: float


async def evaluate(
    documents: Iterable[AnnotatedDocument],
    extractor: Extractor,
    labels: Sequence[str],
    *,
    policy: Policy = Policy.PAPER,
    in_flight: int = 1,
    on_document: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Extract from every document and score the answers.

    Args:
        documents: Read as they are needed.
        extractor: Over the model to score.
        labels: Labels to ask for and to score, as the documents name them.
        policy: De-duplication.
        in_flight: Documents extracted at once; 1 measures latency, more measures throughput.
        on_document: Called after each document.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    got = await answer(documents, extractor, labels, in_flight=in_flight, on_document=on_document)
    evaluation = score(got.answers, labels, policy=policy, calibration=extractor.calibration)
    evaluation.seconds = got.seconds
    return evaluation


async def answer(
    documents: Iterable[AnnotatedDocument],
    extractor: Extractor,
    labels: Sequence[str],
    *,
    in_flight: int = 1,
    on_document: Callable[[], None] = lambda: None,
) -> Answers:
    """Have a model answer every document, without post-processing; for the arguments see ``evaluate``.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    queue = enumerate(documents)
    done: dict[int, tuple[ModelAnswer, float]] = {}

    async def serve() -> None:
        for index, annotated in queue:
            document = Document(id=annotated.id, text=annotated.text, labels=list(labels))
            began = time.perf_counter()
            found = await extractor.ask(document)
            latency = time.perf_counter() - began
            done[index] = ModelAnswer(annotated, found, extractor.threshold), latency
            on_document()
            await asyncio.sleep(0)

    began = time.perf_counter()
    await all_of(serve() for _ in range(in_flight))
    seconds = time.perf_counter() - began
    ordered = [done[index] for index in range(len(done))]
    return Answers([each for each, _ in ordered], [latency for _, latency in ordered], seconds)


def score(
    answers: Iterable[Answer],
    labels: Sequence[str],
    *,
    policy: Policy = Policy.PAPER,
    calibration: Calibration | None = None,
) -> Evaluation:
    """Post-process answers and score them.

    Args:
        answers: Any system's.
        labels: Labels to score, as the documents name them.
        policy: De-duplication.
        calibration: Makes probabilities of the scores.
    """
    evaluation = Evaluation(
        by_label={label: Score() for label in labels}, matches={label: Matches() for label in labels}
    )
    for each in answers:
        evaluation.add(each, policy, calibration)
    return evaluation

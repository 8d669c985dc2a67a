"""De-duplication policies compared on one decode."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from stream.contract.messages import Entity, Policy
from stream.corpora.document import AnnotatedDocument
from stream.evaluation.alignment import Matches, align, matches
from stream.evaluation.runner import Answer
from stream.evaluation.scores import Accuracy, Score
from stream.ner.calibration import Calibration

NONE = "none"
"""In place of a policy: nothing is removed, not even mentions absent from the text."""

GOLD = "gold"
"""In place of a policy: the gold annotation, for its own share of texts with two labels."""

_Pair = tuple[str, str]  # label and mention text


@dataclass(frozen=True, slots=True)
class Ablation:
    """Figures of one policy.

    Attributes:
        score: Micro-F1's counts over sets of (label, mention text).
        matches: Counts of the scores over places.
        duplicates: Distinct (label, mention text) pairs of a document whose text has another label too, of
            all pairs.
        removed: Removed pairs that the gold annotation has, of all removed pairs.
    """

    score: Score = field(default_factory=Score)
    matches: Matches = field(default_factory=Matches)
    duplicates: Accuracy = field(default_factory=Accuracy)
    removed: Accuracy = field(default_factory=Accuracy)

    def __add__(self, other: "Ablation") -> "Ablation":
        return Ablation(
            self.score + other.score,
            self.matches + other.matches,
            self.duplicates + other.duplicates,
            self.removed + other.removed,
        )


def ablate(
    answers: Sequence[Answer], labels: Sequence[str], calibration: Calibration | None = None
) -> dict[str, Ablation]:
    """Score the same answers under every policy.

    Args:
        answers: Any system's.
        labels: Labels to score, as the documents name them.
        calibration: Makes probabilities of the scores.

    Returns:
        ``NONE``, every policy, and ``GOLD``.
    """
    figures = dict.fromkeys((NONE, *Policy, GOLD), Ablation())
    for answer in answers:
        for name, figure in _document(answer, labels, calibration).items():
            figures[name] += figure
    return figures


def _document(answer: Answer, labels: Sequence[str], calibration: Calibration | None) -> dict[str, Ablation]:
    document = answer.document
    kept = {policy: answer.settle(policy, calibration) for policy in Policy}
    whole = kept[Policy.MULTI]
    dropped = [one for one in whole.removed if one.text and one.label in labels]
    written = _pairs(whole.entities, labels) | {(one.label, one.text) for one in dropped}
    gold = {(entity.label, entity.text) for entity in document.entities if entity.label in labels}
    places = _matches(document, whole.entities, labels) + Matches(predicted=len(dropped))
    figures = {NONE: Ablation(Score.of(written, gold), places, duplicates(written))}
    for policy, settled in kept.items():
        pairs = _pairs(settled.entities, labels)
        figures[policy] = Ablation(
            Score.of(pairs, gold),
            _matches(document, settled.entities, labels),
            duplicates(pairs),
            Accuracy(len((written - pairs) & gold), len(written - pairs)),
        )
    return figures | {GOLD: Ablation(duplicates=duplicates(gold))}


def duplicates(pairs: Collection[_Pair]) -> Accuracy:
    """Distinct (label, mention text) pairs whose text has another label too, of all pairs."""
    labels_of = Counter(text for _, text in pairs)
    return Accuracy(sum(count for count in labels_of.values() if count > 1), len(pairs))


def _pairs(entities: Sequence[Entity], labels: Sequence[str]) -> set[_Pair]:
    return {(entity.label, entity.text) for entity in entities if entity.label in labels}


def _matches(document: AnnotatedDocument, entities: Sequence[Entity], labels: Sequence[str]) -> Matches:
    return sum(matches(align(entities, document.entities), labels).values(), Matches())

"""An extractor scored on annotated documents."""

import pytest

from stream.corpora.document import AnnotatedDocument
from stream.evaluation.runner import evaluate
from stream.ner.extractor import Extractor
from tests.ner.oracle import Oracle, tiny_template


def annotated(text, **mentions):
    """A document with every occurrence of the mentions annotated."""
    entities = [
        {"start": start, "end": start + len(mention), "text": mention, "label": label}
        for label, texts in mentions.items()
        for mention in texts
        for start in range(len(text))
        if text.startswith(mention, start)
    ]
    return AnnotatedDocument(text=text, entities=entities)


DOCUMENTS = [
    annotated("Ann and Bo in Rome", PER=["Ann", "Bo"], LOC=["Rome"]),
    annotated("Rome, Rome", LOC=["Rome"]),
    annotated("nothing here"),
]


async def run(gold, **options):
    """Score a generator that answers as ``gold`` says."""
    template = tiny_template()
    extractor = Extractor(Oracle(template, gold), template)
    return await evaluate(DOCUMENTS, extractor, ["PER", "LOC"], **options)


def right(text, label):
    """The gold mentions of the documents above."""
    names = {"person": ["Ann", "Bo"], "location": ["Rome"]}[label]
    return [name for name in text.replace(",", "").split() if name in names]


@pytest.mark.parametrize("in_flight", [1, 3, 10])
async def test_runner_scores_a_perfect_model_as_perfect(in_flight):
    """Right answers give F1 and count accuracy of 1, however many documents are in flight."""
    evaluation = await run(right, in_flight=in_flight)
    assert evaluation.documents == 3
    assert evaluation.score.f1 == 1.0
    assert (evaluation.counts.right, evaluation.counts.total) == (6, 6)
    assert (evaluation.counts_present.right, evaluation.counts_present.total) == (3, 3)


async def test_runner_scores_sets_of_texts():
    """A mention text counts once a document and label, right, wrong or missed."""

    def wrong(text, label):
        if label == "person":
            return ["Ann"] if "Ann" in text else []
        return ["Rome"] if "Rome" in text else ["here"]

    evaluation = await run(wrong)
    person, location = evaluation.by_label["PER"], evaluation.by_label["LOC"]
    assert (person.tp, person.fp, person.fn) == (1, 0, 1)
    assert (location.tp, location.fp, location.fn) == (2, 1, 0)
    assert evaluation.score.f1 == 2 * 3 / (2 * 3 + 1 + 1)


async def test_runner_counts_are_of_places():
    """Count accuracy compares the number asked for with the annotated places, not the distinct texts."""
    evaluation = await run(lambda text, label: ["Rome"] if label == "location" and "Rome" in text else [])
    # Wrong: two persons, and two places of Rome counted as one.
    assert (evaluation.counts.right, evaluation.counts.total) == (4, 6)
    assert (evaluation.counts_present.right, evaluation.counts_present.total) == (1, 3)

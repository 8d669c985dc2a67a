"""Hallucination and drift."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Entity
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.evaluation.count_errors import Recorder
from stream.evaluation.drift import (
    VARIANTS,
    Answered,
    Change,
    Mentions,
    answered,
    invented,
    nameless_texts,
    places,
    varied,
    written_mentions,
)
from stream.evaluation.runner import answer
from stream.evaluation.scores import Accuracy, Score
from stream.ner.extractor import Extractor
from tests.evaluation.test_runner import annotated
from tests.ner.oracle import Oracle, tiny_template

SENTENCE = annotated("Ann Lee met Bo in Rome .", PER=["Ann Lee", "Bo"], LOC=["Rome"])


def found(document, *entities):
    """An answer with entities at places of the document's text."""
    named = [
        Entity(text=document.text[start:end], label=label, start=start, end=end, score=1, count_score=1)
        for label, start, end in entities
    ]
    return Answered(document, named, Mentions())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spaces doubled", "Ann  Lee  met  Bo  in  Rome  ."),
        ("lines of six words", "Ann Lee met Bo in Rome\n."),
        ("no space before punctuation", "Ann Lee met Bo in Rome."),
        ("lower case", "ann lee met bo in rome ."),
        ("upper case", "ANN LEE MET BO IN ROME ."),
    ],
)
def test_drift_variants_move_the_annotation_with_the_text(name, text):
    """A variant has its own text, and each entity stands where its words are now."""
    document = varied(SENTENCE, VARIANTS[name])
    assert document.text == text
    assert [entity.label for entity in document.entities] == ["PER", "PER", "LOC"]
    for before, after in zip(SENTENCE.entities, document.entities, strict=True):
        assert text[after.start : after.end] == after.text
        assert after.text.split() == VARIANTS[name](before.text).split()


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(sorted(VARIANTS)), st.data())
def test_drift_variants_keep_places(text, name, data):
    """Whatever the text, an entity's place is the same in every variant."""
    at = [number for number, character in enumerate(text) if not character.isspace()]
    start, last = sorted((data.draw(st.sampled_from(at)), data.draw(st.sampled_from(at))))
    entity = GoldEntity(start=start, end=last + 1, text=text[start : last + 1], label="X")
    document = AnnotatedDocument(text=text, entities=(entity,))
    after = varied(document, VARIANTS[name])
    assert places(after.text, after.entities) == places(text, [entity])


def test_drift_refuses_a_variant_that_changes_words():
    """Answers to other words cannot be compared by place."""
    with pytest.raises(ValueError, match="more than white space and case"):
        varied(SENTENCE, lambda text: text + "!")


async def test_drift_mentions_are_counted_as_written_and_as_published():
    """Those not in the text letter by letter count as foreign, those without a place there as ungrounded."""
    template = tiny_template()
    said = {"person": ["ann lee", "Bob"], "location": ["Rome"]}
    recorder = Recorder(Oracle(template, lambda _text, label: said[label]))
    extractor = Extractor(recorder, template)
    (one,) = (await answer([SENTENCE], extractor, ["PER", "LOC"])).answers
    written = list(written_mentions(one, recorder, template))
    assert written == ["ann lee", "Bob", "Rome"]
    counted = answered(one, one.settle(extractor.policy).entities, written).mentions
    assert counted == Mentions(written=3, foreign=2, ungrounded=1, published=2)
    assert counted + Mentions(1, 1, 1, 1, 1) == Mentions(4, 3, 2, 3, 1)


def test_drift_sees_an_entity_that_is_not_at_its_place():
    """A published text that differs from its place's would be counted."""
    wrong = Entity(text="Bob", label="PER", start=12, end=14, score=1, count_score=1)
    assert Mentions.of(SENTENCE.text, ["Bo"], [wrong], 0).published_foreign == 1


def test_drift_invented_are_labels_answered_where_they_have_no_entity():
    """Of the labels that a text's annotation lacks, those with an answer; labels that it has do not count."""
    nothing = annotated("It rained .")
    answers = [found(SENTENCE, ("PER", 0, 7), ("ORG", 18, 22)), found(nothing, ("LOC", 0, 2))]
    assert invented(answers, ["PER", "LOC", "ORG"]) == Accuracy(2, 4)


def test_drift_change_compares_answers_by_place_and_scores_them():
    """An answer that differs only in white space is the same; one that takes a full stop along is not."""
    joined = varied(SENTENCE, VARIANTS["no space before punctuation"])
    before = [found(SENTENCE, ("PER", 0, 7), ("LOC", 18, 22))] * 2
    after = [found(joined, ("PER", 0, 7), ("LOC", 18, 22)), found(joined, ("PER", 0, 7), ("LOC", 18, 23))]
    change = Change.of(before, after)
    assert change == Change(Accuracy(1, 2), Score(3, 1, 1), Score(3, 1, 3))


def test_drift_nameless_texts_are_many_of_each_kind():
    """Each kind has about 25 different texts."""
    texts = nameless_texts()
    assert set(texts) == {"prose", "code", "languages", "forms"}
    assert all(25 <= len(set(each)) == len(each) for each in texts.values())

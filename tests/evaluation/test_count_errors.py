"""Scores under wrong counts."""

import math

import pytest

from stream.contract.messages import Policy
from stream.evaluation.count_errors import (
    PERTURBATIONS,
    CountErrors,
    CountSource,
    Perturbation,
    Recorder,
    differences,
)
from stream.evaluation.runner import answer, evaluate
from stream.generation import Completion
from stream.ner.extractor import Extractor
from tests.evaluation.test_runner import annotated
from tests.ner.oracle import Oracle, tiny_template

LABELS = ["PER", "LOC"]
DOCUMENTS = [
    annotated("Ann and Bo in Rome", PER=["Ann", "Bo"], LOC=["Rome"]),
    annotated("Cid in Rome by Ems", PER=["Cid"], LOC=["Rome", "Ems"]),
    annotated("nothing here"),
]


class Obedient(Oracle):
    """Writes as many mentions as it is asked for: the gold ones, then "here" and what is not in the text."""

    def _answer(self, prompt):
        text, label, rest = self.read(prompt)
        if not rest:
            return super()._answer(prompt)
        places = [
            (count, k)
            for count in range(1, self.template.config.max_count + 1)
            for k in range(1, count + 1)
            if rest == (*self.template.count_answer_ids(count), *self.template._mentions[k - 1])
        ]
        ((_, k),) = places
        mention = (*self.gold(text, label), "here", "not there")[k - 1]
        return self._completion(self.template.encode_text(mention).ids, 0.9)


def names(text, label):
    """The gold mentions of the documents, but for a person that the model does not count."""
    known = {"person": ["Ann", "Cid"], "location": ["Rome", "Ems"]}[label]
    return [name for name in text.split() if name in known]


@pytest.fixture
async def decoded():
    """Scores, the model that was asked, and its answers."""
    template = tiny_template()
    model = Obedient(template, names)
    recorder = Recorder(model)
    got = await answer(DOCUMENTS, Extractor(recorder, template), LABELS)
    asked = len(model.prompts)
    scores = await CountErrors(recorder, template, LABELS).measure(iter(DOCUMENTS))
    return scores, model, asked, got.answers


async def test_count_errors_of_no_change_is_the_evaluation(decoded):
    """Under its own counts a model scores as it does when it is asked."""
    scores, *_ = decoded
    alone = await evaluate(
        DOCUMENTS, Extractor(Obedient(tiny_template(), names), tiny_template()), LABELS, policy=Policy.PAPER
    )
    assert scores[Perturbation(CountSource.OWN)].score == alone.score
    assert scores[Perturbation(CountSource.OWN)].changed == 0


def test_count_errors_change_the_counts_of_their_kind(decoded):
    """Under loses a mention of every counted pair, over and invented add one, and gold counts find all."""
    scores, *_ = decoded
    own = scores[Perturbation(CountSource.OWN)].score
    assert (own.tp, own.fp, own.fn) == (5, 0, 1)
    under, over, invented, gold = (scores[Perturbation(counts)] for counts in list(CountSource)[1:])
    assert (under.changed, under.score.tp) == (4, 1)
    # Too much is asked for: "here" is in one text only, and not there where a mention was counted.
    assert (over.changed, over.score) == (4, own)
    assert (invented.changed, invented.score.fp) == (2, own.fp + 1)
    assert gold.changed == 1


def test_count_errors_of_smaller_shares_are_among_those_of_larger(decoded):
    """The more counts are changed, the more are, and none is decoded twice."""
    scores, model, asked, _ = decoded
    for counts in (CountSource.UNDER, CountSource.OVER, CountSource.INVENTED):
        changed = [scores[each].changed for each in PERTURBATIONS if each.counts is counts]
        assert changed == sorted(changed)
    again = [prompt.ids for prompt in model.prompts[asked:]]
    before = {prompt.ids for prompt in model.prompts[:asked]}
    assert again
    assert len(again) == len(set(again))
    assert not before & set(again)


def test_count_errors_differences_are_counted_less_annotated(decoded):
    """One pair of six counted one too few."""
    *_, answers = decoded
    assert differences(answers, LABELS) == {0: 5, -1: 1}


async def test_count_errors_stay_within_what_can_be_counted():
    """A count of the most that the checkpoint can count is not raised, and more gold is cut to it."""
    template = tiny_template(max_count=2)
    document = annotated("Ann Ann Ann", PER=["Ann"])
    recorder = Recorder(Obedient(template, lambda text, label: ["Ann", "Ann"]))
    await answer([document], Extractor(recorder, template), ["PER"])
    scores = await CountErrors(recorder, template, ["PER"]).measure(iter([document]))
    over, gold = (scores[Perturbation(counts)] for counts in (CountSource.OVER, CountSource.GOLD))
    assert over.changed == gold.changed == 0


async def test_count_errors_leave_unreadable_counts_alone():
    """A count that is no number is no number under any change."""
    template = tiny_template()

    class Stammering(Oracle):
        def _answer(self, prompt):
            return Completion(self.template.encode_text("x").ids, (math.log(0.5),))

    recorder = Recorder(Stammering(template, names))
    await answer(DOCUMENTS, Extractor(recorder, template), LABELS)
    scores = await CountErrors(recorder, template, LABELS).measure(iter(DOCUMENTS))
    assert {each.changed for each in scores.values()} == {0}
    assert {each.score.tp for each in scores.values()} == {0}

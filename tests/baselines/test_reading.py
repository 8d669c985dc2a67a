"""Baselines' models read."""

import math

import pytest

from stream.baselines.answers import GoldMention
from stream.baselines.config import Baseline
from stream.baselines.prompts import BaselinePrompts
from stream.baselines.reading import BaselineReader
from stream.contract.messages import Document
from stream.generation import Completion
from stream.ner.extractor import Extractor
from stream.ner.labels import LabelWords
from stream.ner.text_tokens import TextTokens
from tests.baselines.templates import marked_template

TEXT = "Ann of Rome met Bo in Rome"
MENTIONS = [
    GoldMention("PER", 0, 3),
    GoldMention("LOC", 7, 11),
    GoldMention("PER", 16, 18),
    GoldMention("LOC", 22, 26),
]
LABELS = ["PER", "LOC", "ORG"]


class Answering:
    """A model that gives the right answers of a format, each token at half of certainty."""

    def __init__(self, baseline):
        self.template = marked_template(baseline)
        self.prompts = BaselinePrompts(self.template, baseline)
        spelled = TextTokens.of(TEXT, self.template)
        words = {label: LabelWords(*[self.template.label_text(label)] * 2) for label in LABELS}
        prefix = self.template.prefix_ids(spelled.encoded.ids)
        prompts = self.prompts.prompts(prefix, words)
        self.answers = {one.ids: self.prompts.answer(one, spelled, MENTIONS) for one in prompts}
        self.asked = []

    async def generate(self, prompt):
        """The answer, as far as the prompt's limit lets it be."""
        self.asked.append(prompt)
        ids = self.answers[prompt.ids][: prompt.max_new_tokens]
        return Completion(ids, (math.log(0.5),) * len(ids))

    async def extract(self, longest=10_000):
        """The document of the test."""
        reader = BaselineReader(self, self.template, self.prompts, longest)
        extractor = Extractor(self, self.template, decoder=reader)
        return await extractor.extract(Document(text=TEXT, labels=LABELS))


@pytest.mark.parametrize("baseline", Baseline)
async def test_reading_finds_what_the_answers_say(baseline):
    """All mentions are found at their places, scored by their own tokens, and counted by label."""
    model = Answering(baseline)
    extraction = await model.extract()
    found = {(one.label, one.start, one.end) for one in extraction.entities}
    assert found == {(one.label, one.start, one.end) for one in MENTIONS}
    assert extraction.counts == {"PER": 2, "LOC": 2, "ORG": 0}
    assert [one.score for one in extraction.entities if one.text == "Ann"] == [pytest.approx(0.5**3)]
    assert len(model.asked) == (3 if baseline is Baseline.ONESTEP else 1)


async def test_reading_reads_a_cut_answer_as_far_as_it_goes():
    """A model with little room answers what fits."""
    model = Answering(Baseline.AUTOREG_STRUCT)
    ((prompt, answer),) = model.answers.items()
    extraction = await model.extract(longest=len(prompt) + len(answer) // 2)
    assert [one.text for one in extraction.entities] == ["Ann", "Rome"]

"""Baselines scored on annotated documents."""

import pytest

from stream.baselines.answers import Marked
from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.prompts import BaselinePrompts
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.evaluation.baselines import evaluate_baseline
from stream.inference.in_process import InProcessGenerator
from stream.ner.encoded_text import SpelledText
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate
from tests.tiny_model import write_tiny_checkpoint

LABELS = ["PER", "LOC"]
DOCUMENTS = [
    AnnotatedDocument(
        text="Ann met Bo in Rome",
        entities=[
            {"start": 0, "end": 3, "text": "Ann", "label": "PER"},
            {"start": 8, "end": 10, "text": "Bo", "label": "PER"},
            {"start": 14, "end": 18, "text": "Rome", "label": "LOC"},
        ],
    ),
    AnnotatedDocument(text="nothing", entities=()),
]


def right_answers(folder, baseline):
    """Every prompt of the documents, and how a perfect model answers it."""
    template = PromptTemplate.load(folder, BaselineConfig.load(folder).ner)
    prompts = BaselinePrompts(template, baseline)
    words = {label: LabelWords(*[template.label_text(label)] * 2) for label in LABELS}
    answers = {}
    for document in DOCUMENTS:
        text = SpelledText.of(document.text, template)
        mentions = [Marked(one.label, one.start, one.end) for one in document.entities]
        for question in prompts.questions(template.prefix_ids(text.encoded.ids), words):
            answers[question.ids] = prompts.answer(question, text, mentions)
    return answers


@pytest.mark.parametrize("baseline", Baseline)
async def test_baselines_scores_and_passes_are_those_of_the_answers(tmp_path, monkeypatch, baseline):
    """A right model scores 100, and takes a pass for each token of its longest answer and for its end."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=baseline)
    answers = right_answers(folder, baseline)
    generate = InProcessGenerator.generate
    monkeypatch.setattr(
        InProcessGenerator,
        "generate",
        lambda self, prompt: generate(self, prompt, forced=answers[prompt.ids]),
    )
    result = await evaluate_baseline(folder, DOCUMENTS, LABELS)
    figures = result.as_dict()
    assert (figures["format"], figures["documents"]) == (baseline.value, 2)
    assert (figures["f1"], figures["precision"], figures["recall"]) == (100, 100, 100)
    assert (figures["count_accuracy"], figures["count_accuracy_present"]) == (100, 100)
    at_once = 2 if baseline is Baseline.ONESTEP else 1
    lengths = [len(answer) + 1 for answer in answers.values()]
    assert result.passes == sum(max(lengths[n : n + at_once]) for n in range(0, len(lengths), at_once))
    assert result.policy is (Policy.PAPER if baseline is Baseline.ONESTEP else Policy.MULTI)


async def test_baselines_scores_are_the_models_own(tmp_path):
    """Without help, a model of random weights finds nothing, and runs into the limit of its answers."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.AUTOREG_STRUCT)
    result = await evaluate_baseline(folder, DOCUMENTS, LABELS, policy=Policy.FLAT)
    assert result.as_dict()["f1"] == 0
    assert result.policy is Policy.FLAT
    assert result.passes <= 2 * 16 + 8 * sum(len(document.text) for document in DOCUMENTS)

"""Baselines as ``padellm evaluate`` scores them."""

from pathlib import Path

import pytest

from stream.baselines.answers import GoldMention
from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.prompts import BaselinePrompts
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.errors import ConfigurationError
from stream.evaluation.report import figures
from stream.evaluation.task import Task, evaluate_model
from stream.inference.in_process import InProcessGenerator
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate
from stream.ner.text_tokens import TextTokens
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
        text = TextTokens.of(document.text, template)
        mentions = [GoldMention(one.label, one.start, one.end) for one in document.entities]
        for prompt in prompts.prompts(template.prefix_ids(text.encoded.ids), words):
            answers[prompt.ids] = prompts.answer(prompt, text, mentions)
    return answers


def task(policy=None, *, analyse=False):
    """The documents, to be scored."""
    return Task(
        Path("data"), DOCUMENTS, LABELS, named=False, policy=policy, limit=None, in_flight=1, analyse=analyse
    )


@pytest.fixture
def perfect(tmp_path, monkeypatch):
    """Makes a tiny baseline whose every answer is the right one; its folder and its answers."""

    def make(baseline):
        folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=baseline)
        answers, generate = right_answers(folder, baseline), InProcessGenerator.generate
        monkeypatch.setattr(
            InProcessGenerator,
            "generate",
            lambda self, prompt: generate(self, prompt, forced=answers[prompt.ids]),
        )
        return folder, answers

    return make


@pytest.mark.parametrize("baseline", Baseline)
async def test_task_scores_and_passes_of_a_baseline_are_those_of_its_answers(perfect, baseline):
    """A right model scores 100, and takes a pass for each token of its longest answer and for its end."""
    folder, answers = perfect(baseline)
    found = figures(await evaluate_model(task(), folder, calibrate=False))
    assert (found["format"], found["documents"]) == (baseline.value, 2)
    assert (found["f1"], found["precision"], found["recall"]) == (100, 100, 100)
    assert (found["count_accuracy"], found["count_accuracy_present"]) == (100, 100)
    at_once = 2 if baseline is Baseline.ONESTEP else 1
    lengths = [len(answer) + 1 for answer in answers.values()]
    passes = sum(max(lengths[n : n + at_once]) for n in range(0, len(lengths), at_once))
    assert found["passes_per_document"] == passes / 2
    assert found["policy"] == (Policy.PAPER if baseline is Baseline.ONESTEP else Policy.MULTI)


async def test_task_analyses_a_baseline_without_wrong_counts(perfect):
    """A report has policies and mistakes; counts are not asked for, so none can be perturbed."""
    folder, _ = perfect(Baseline.AUTOREG_STRUCT)
    report = await evaluate_model(task(analyse=True), folder, calibrate=False)
    assert report.analyses.policies[Policy.MULTI].score == report.evaluation.score
    assert report.analyses.differences == {0: 4}
    assert report.analyses.wrong_counts is None
    assert "wrong_counts" not in figures(report)


async def test_task_scores_a_baselines_own_answers(tmp_path):
    """A model of random weights finds nothing, and runs into the limit of its answers."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.AUTOREG_STRUCT)
    found = figures(await evaluate_model(task(Policy.FLAT), folder, calibrate=False))
    assert (found["f1"], found["policy"]) == (0, "flat")
    most = 2 * 16 + 8 * sum(len(document.text) for document in DOCUMENTS)
    assert found["passes_per_document"] <= most / 2


async def test_task_calibrates_no_baseline(tmp_path):
    """A baseline is never served, so no calibration is stored beside it."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", baseline=Baseline.ONESTEP)
    with pytest.raises(ConfigurationError, match="leave out --calibrate"):
        await evaluate_model(task(), folder, calibrate=True)

"""The work of ``padellm evaluate``: score and analyse a model's answers, or a file of predictions."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from stream.api import LoadedModel, loaded
from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.reading import baseline_extractor, usual_policy
from stream.bundled import model_folder
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.corpora.predictions import read_predictions
from stream.engine.decoder import EngineOptions
from stream.errors import ConfigurationError
from stream.evaluation.calibration import fit_half
from stream.evaluation.count_errors import CountErrors, Recorder, differences
from stream.evaluation.mistakes import mark
from stream.evaluation.policies import ablate
from stream.evaluation.predictions import match
from stream.evaluation.reliability import Reliability
from stream.evaluation.report import Analyses, Latency, Report
from stream.evaluation.runner import Answer, Answers, answer, score
from stream.inference.in_process import InProcessGenerator
from stream.ner.calibration import Calibration
from stream.ner.config import BASELINE_FILE_NAME, store_calibration
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Task:
    """Documents to evaluate on, and options.

    Attributes:
        data: Source of the documents.
        documents: All of them.
        labels: Those asked for and scored.
        named: Whether they were named; predictions under other labels are then left out, and else wrong.
        policy: De-duplication; None takes the usual one of the model's format.
        limit: Only the first documents.
        in_flight: Documents that a model answers at once.
        analyse: Whether to analyse for a report.
    """

    data: Path
    documents: Sequence[AnnotatedDocument]
    labels: Sequence[str]
    named: bool
    policy: Policy | None
    limit: int | None
    in_flight: int
    analyse: bool

    def about(self, system: dict[str, str], policy: Policy) -> dict[str, str]:
        """The subject of a report."""
        return system | {"data": str(self.data), "policy": policy.value}

    def track(self, doing: str) -> Iterator[AnnotatedDocument]:
        """The documents within the limit, with a progress bar on stderr."""
        chosen = self.documents[: self.limit]
        return iter(track(chosen, doing, console=Console(stderr=True), transient=True))


def evaluate_predictions(task: Task, file: Path) -> Report:
    """Score the predictions of another system.

    Raises:
        ConfigurationError: The file cannot be read, or is not about these documents.
    """
    answers = match(file, read_predictions(file), task.documents)[: task.limit]
    labels, policy = list(task.labels), task.policy or Policy.PAPER
    if not task.named:
        labels = list(dict.fromkeys([*labels, *(e.label for each in answers for e in each.entities)]))
    evaluation = score(answers, labels, policy=policy)
    return Report(
        about=task.about({"predictions": str(file)}, policy),
        evaluation=evaluation,
        reliability=Reliability.of(evaluation.judged),
        without=sum(not each.named for each in answers),
        analyses=_analyses(answers, labels, policy, None) if task.analyse else None,
    )


async def evaluate_model(task: Task, folder: Path | None, *, calibrate: bool) -> Report:
    """Have a model answer the documents, and score it; a baseline is decoded greedily.

    Args:
        task: The documents.
        folder: The model; None takes the settings' one, or else the bundled one.
        calibrate: Whether to fit a calibration and store it in the folder, which must then be named.

    Raises:
        ConfigurationError: The model cannot be calibrated, or there is too little to calibrate with.
        CheckpointError: The folder holds no model.
    """
    if calibrate and folder is None:
        raise ConfigurationError(
            "--calibrate rewrites the calibration in the model's folder: name that folder with --model"
        )
    chosen = model_folder(folder or Settings().model)
    if not (chosen / BASELINE_FILE_NAME).is_file():
        return await _evaluate_ours(task, chosen, calibrate=calibrate)
    if calibrate:
        raise ConfigurationError(f"{chosen} holds a baseline, which is never served: leave out --calibrate")
    return await _evaluate_baseline(task, chosen)


async def _evaluate_ours(task: Task, folder: Path, *, calibrate: bool) -> Report:
    async with loaded(folder) as opened:
        policy = task.policy or opened.template.config.policy
        if calibrate and not os.access(opened.folder, os.W_OK):
            raise ConfigurationError(
                f"{opened.folder} cannot be written: copy the model folder to where you may write"
            )
        recorder = Recorder(opened.generator)
        # Only analyses need to remember the answers.
        generator = recorder if task.analyse else opened.generator
        extractor = Extractor(generator, opened.template, threshold=opened.extractor.threshold)
        got, passes = await _answers(task, opened, extractor)
        fitted, calibration = None, extractor.calibration
        if calibrate:
            config = opened.template.config
            phrases = {label: config.phrase(label) for label in task.labels}
            fitted = fit_half(got.answers, task.labels, phrases, policy)
            calibration = fitted.calibration
            stored = store_calibration(opened.folder, calibration)
            Console(stderr=True).print(f"calibration stored in {stored}", soft_wrap=True, markup=False)
        report = replace(_report(task, opened, "padellm", got, passes, policy, calibration), fitted=fitted)
        if report.analyses is None:
            return report
        wrong_counts = await CountErrors(
            recorder,
            opened.template,
            task.labels,
            policy=policy,
            threshold=extractor.threshold,
            calibration=calibration,
        ).measure(task.track("wrong counts"))
        return replace(report, analyses=replace(report.analyses, wrong_counts=wrong_counts))


async def _evaluate_baseline(task: Task, folder: Path) -> Report:
    async with _open_baseline(folder) as (baseline, opened):
        policy = task.policy or usual_policy(baseline)
        got, passes = await _answers(task, opened, opened.extractor)
        return _report(task, opened, baseline.value, got, passes, policy, opened.extractor.calibration)


@asynccontextmanager
async def _open_baseline(folder: Path) -> AsyncIterator[tuple[Baseline, LoadedModel]]:
    """Open the checkpoint of a baseline, without drafts: they are made for PaDeLLM's prompts."""
    settings, config = Settings(), BaselineConfig.load(folder)
    options = replace(EngineOptions.from_settings(settings), drafts=False)
    generator = InProcessGenerator.load(folder, options)
    try:
        template = PromptTemplate.load(folder, config.ner)
        extractor = baseline_extractor(folder, generator, generator.decoder.longest_sequence)
        yield config.format, LoadedModel(folder, template, generator, extractor)
    finally:
        await generator.close()


async def _answers(task: Task, opened: LoadedModel, extractor: Extractor) -> tuple[Answers, int]:
    """The answers, and the forward passes they took."""
    before = opened.passes
    got = await answer(task.track("documents"), extractor, task.labels, in_flight=task.in_flight)
    return got, opened.passes - before


def _report(  # noqa: PLR0917 - the two callers hand on all that they know
    task: Task,
    opened: LoadedModel,
    form: str,
    got: Answers,
    passes: int,
    policy: Policy,
    calibration: Calibration | None,
) -> Report:
    config = opened.template.config
    system = {"model": f"{config.name} {config.version}", "folder": str(opened.folder), "format": form}
    evaluation = score(got.answers, task.labels, policy=policy, calibration=calibration)
    evaluation.seconds = got.seconds
    return Report(
        about=task.about(system, policy),
        evaluation=evaluation,
        reliability=Reliability.of(evaluation.judged),
        latency=Latency.of(got.latencies, passes),
        analyses=_analyses(got.answers, task.labels, policy, calibration) if task.analyse else None,
    )


def _analyses(
    answers: Sequence[Answer], labels: Sequence[str], policy: Policy, calibration: Calibration | None
) -> Analyses:
    return Analyses(
        policies=ablate(answers, labels, calibration),
        uncalibrated=Reliability.of(score(answers, labels, policy=policy).judged) if calibration else None,
        marked=mark(answers, labels, policy, calibration),
        differences=differences(answers, labels),
    )

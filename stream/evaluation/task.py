"""What ``padellm evaluate`` does: a model's answers or a file of predictions, scored and analysed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from stream.api import OpenModel, open_model
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.corpora.predictions import read_predictions
from stream.errors import ConfigurationError
from stream.evaluation.calibration import fit_half
from stream.evaluation.count_errors import CountErrors, Recorder, differences
from stream.evaluation.mistakes import mark
from stream.evaluation.policies import ablate
from stream.evaluation.predictions import match
from stream.evaluation.reliability import Reliability
from stream.evaluation.report import Analyses, Latency, Report
from stream.evaluation.runner import Answer, Answers, answer, score
from stream.ner.calibration import Calibration
from stream.ner.config import store_calibration
from stream.ner.extractor import Extractor


@dataclass(frozen=True, slots=True)
class Task:
    """What to evaluate on, and how.

    Attributes:
        data: Where the documents are from.
        documents: All of them.
        labels: Those asked for and scored.
        named: Whether they were named, so that predictions under others are left out and not wrong.
        policy: De-duplication.
        limit: Only the first documents.
        in_flight: Documents that a model answers at once.
        analyse: Whether to find out all that a report shows.
    """

    data: Path
    documents: Sequence[AnnotatedDocument]
    labels: Sequence[str]
    named: bool
    policy: Policy
    limit: int | None
    in_flight: int
    analyse: bool

    def about(self, system: dict[str, str]) -> dict[str, str]:
        """What a report says that it is about."""
        return system | {"data": str(self.data), "policy": self.policy.value}

    def shown(self, doing: str) -> Iterator[AnnotatedDocument]:
        """The documents within the limit, with a progress bar on stderr."""
        chosen = self.documents[: self.limit]
        return iter(track(chosen, doing, console=Console(stderr=True), transient=True))


def evaluate_predictions(task: Task, file: Path) -> Report:
    """Score what another system predicted.

    Raises:
        ConfigurationError: The file cannot be read, or is not about these documents.
    """
    answers = match(file, read_predictions(file), task.documents)[: task.limit]
    labels = list(task.labels)
    if not task.named:
        labels = list(dict.fromkeys([*labels, *(e.label for each in answers for e in each.entities)]))
    evaluation = score(answers, labels, policy=task.policy)
    return Report(
        about=task.about({"predictions": str(file)}),
        evaluation=evaluation,
        reliability=Reliability.of(evaluation.judged),
        without=sum(not each.named for each in answers),
        analyses=_analyses(answers, labels, task.policy, None) if task.analyse else None,
    )


async def evaluate_model(task: Task, folder: Path | None, *, calibrate: bool) -> Report:
    """Have a model answer the documents, and score it.

    Args:
        task: What to evaluate on.
        folder: The model; None: the settings' one, or else the bundled one.
        calibrate: Whether to fit temperatures and store them in the model's folder.

    Raises:
        ConfigurationError: The model cannot be served, or there is too little to calibrate it with.
    """
    async with open_model(folder) as opened:
        if calibrate and not os.access(opened.folder, os.W_OK):
            raise ConfigurationError(
                f"{opened.folder} cannot be written: copy the model folder to where you may write"
            )
        recorder = Recorder(opened.generator)
        # Only analyses need to remember the answers.
        generator = recorder if task.analyse else opened.generator
        extractor = Extractor(generator, opened.template, threshold=opened.extractor.threshold)
        before = opened.passes
        got = await answer(task.shown("documents"), extractor, task.labels, in_flight=task.in_flight)
        report = _report(task, opened, got, opened.passes - before, calibrate=calibrate)
        if report.analyses is None:
            return report
        costs = await CountErrors(
            recorder,
            opened.template,
            task.labels,
            policy=task.policy,
            threshold=extractor.threshold,
            calibration=report.fitted.calibration if report.fitted else extractor.calibration,
        ).cost(task.shown("wrong counts"))
        return replace(report, analyses=replace(report.analyses, costs=costs))


def _report(task: Task, opened: OpenModel, got: Answers, passes: int, *, calibrate: bool) -> Report:
    config, fitted = opened.template.config, None
    calibration = config.calibration
    if calibrate:
        phrases = {label: config.phrase(label) for label in task.labels}
        fitted = fit_half(got.answers, task.labels, phrases, task.policy)
        calibration = fitted.calibration
        stored = store_calibration(opened.folder, calibration)
        Console(stderr=True).print(f"calibration stored in {stored}", soft_wrap=True)
    evaluation = score(got.answers, task.labels, policy=task.policy, calibration=calibration)
    evaluation.seconds = got.seconds
    return Report(
        about=task.about({"model": f"{config.name} {config.version}", "folder": str(opened.folder)}),
        evaluation=evaluation,
        reliability=Reliability.of(evaluation.judged),
        latency=Latency.of(got.latencies, passes),
        fitted=fitted,
        analyses=_analyses(got.answers, task.labels, task.policy, calibration) if task.analyse else None,
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

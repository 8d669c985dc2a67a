"""A baseline scored on annotated documents, as ``stream.evaluation.runner`` scores a model of ours."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.reading import baseline_extractor, usual_policy
from stream.contract.messages import Policy
from stream.corpora.document import AnnotatedDocument
from stream.engine.strategy import Strategy
from stream.evaluation.runner import Evaluation, evaluate
from stream.inference.in_process import InProcessGenerator


@dataclass(frozen=True, slots=True)
class BaselineEvaluation:
    """Scores of a baseline.

    Attributes:
        format: What it answers in.
        policy: What kept entities that compete.
        evaluation: The scores; a label's count is the number of mentions written.
        passes: Forward passes of the engine, drafts off.
    """

    format: Baseline
    policy: Policy
    evaluation: Evaluation
    passes: int

    def as_dict(self) -> dict[str, int | float | str]:
        """The figures of ``padellm evaluate --json``, and what they are of."""
        scores, documents = self.evaluation, self.evaluation.documents
        return {
            "format": self.format.value,
            "policy": self.policy.value,
            "documents": documents,
            "precision": round(100 * scores.score.precision, 2),
            "recall": round(100 * scores.score.recall, 2),
            "f1": round(100 * scores.score.f1, 2),
            "count_accuracy": round(100 * scores.counts.share, 2),
            "count_accuracy_present": round(100 * scores.counts_present.share, 2),
            "passes_per_document": round(self.passes / documents, 3),
            "ms_per_document": round(1000 * scores.seconds / documents, 3),
        }


async def evaluate_baseline(
    folder: Path,
    documents: Iterable[AnnotatedDocument],
    labels: Sequence[str],
    *,
    policy: Policy | None = None,
    threads: int = 2,
    in_flight: int = 1,
    on_document: Callable[[], None] = lambda: None,
) -> BaselineEvaluation:
    """Have a baseline find the entities of documents, and score them.

    Args:
        folder: Its checkpoint.
        documents: At least one.
        labels: Labels to ask for and to score, as the documents name them.
        policy: De-duplication; None: the usual one of the format.
        threads: Passes that run at once.
        in_flight: Documents at once; 1 measures latency, more measures throughput.
        on_document: Called after each document.

    Raises:
        stream.errors.CheckpointError: The folder holds no baseline.
        stream.errors.InferenceError: The model did not answer.
    """
    baseline = BaselineConfig.load(folder).format
    chosen = policy or usual_policy(baseline)
    generator = InProcessGenerator.load(folder, threads=threads, strategy=Strategy.PLAIN)
    try:
        extractor = baseline_extractor(folder, generator, generator.decoder.longest_sequence)
        scores = await evaluate(
            documents, extractor, labels, policy=chosen, in_flight=in_flight, on_document=on_document
        )
        return BaselineEvaluation(baseline, chosen, scores, generator.decoder.statistics().passes)
    finally:
        await generator.close()

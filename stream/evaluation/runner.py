"""An extractor scored on annotated documents."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stream.corpora.document import AnnotatedDocument
from stream.evaluation.scores import Accuracy, Score
from stream.messages import Document, Policy
from stream.ner.extractor import Extraction, Extractor
from stream.ner.tasks import all_of


@dataclass(slots=True)
class Evaluation:
    """Scores over documents.

    Attributes:
        documents: Documents scored.
        by_label: Micro-F1's counts over sets of mention texts: a document's predicted mentions of a label are
            a set of texts, compared with the set of its gold texts (PaDeLLM-NER, section 4).
        counts: Of all pairs of a document and a label, those where the number of mentions the model counted
            is the number of gold entities (places, not texts). In a document of several windows the counts
            of the windows add up, so that an entity in their overlap counts twice. An unreadable count is
            wrong.
        counts_present: The same over the pairs with at least one gold entity.
        removed: Mentions not kept, by reason.
        seconds: Wall time.
    """

    by_label: dict[str, Score]
    documents: int = 0
    counts: Accuracy = field(default_factory=Accuracy)
    counts_present: Accuracy = field(default_factory=Accuracy)
    removed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def score(self) -> Score:
        """Micro-average over all labels."""
        return sum(self.by_label.values(), Score())

    def add(self, document: AnnotatedDocument, extraction: Extraction) -> None:
        """Count one document in; entities under other labels than ``by_label``'s are left out."""
        self.documents += 1
        self.removed.update(one.reason for one in extraction.removed)
        for label in self.by_label:
            gold = [entity.text for entity in document.entities if entity.label == label]
            predicted = [entity.text for entity in extraction.entities if entity.label == label]
            self.by_label[label] += Score.of(predicted, gold)
            right = Accuracy(int(extraction.counts.get(label) == len(gold)), 1)
            self.counts += right
            if gold:
                self.counts_present += right


async def evaluate(
    documents: Iterable[AnnotatedDocument],
    extractor: Extractor,
    labels: Sequence[str],
    *,
    policy: Policy = Policy.PAPER,
    in_flight: int = 1,
    on_document: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Extract from every document and score what comes back.

    Args:
        documents: Read as they are needed.
        extractor: Over the model to score.
        labels: Labels to ask for and to score, as the documents name them.
        policy: De-duplication.
        in_flight: Documents extracted at once; 1 measures latency, more measures throughput.
        on_document: Called after each document.

    Raises:
        stream.errors.InferenceError: The model did not answer.
    """
    evaluation = Evaluation({label: Score() for label in labels})
    queue = iter(documents)

    async def serve() -> None:
        for annotated in queue:
            document = Document(id=annotated.id, text=annotated.text, labels=list(labels), policy=policy)
            evaluation.add(annotated, await extractor.extract(document))
            on_document()
            await asyncio.sleep(0)

    began = time.perf_counter()
    await all_of(serve() for _ in range(in_flight))
    evaluation.seconds = time.perf_counter() - began
    return evaluation

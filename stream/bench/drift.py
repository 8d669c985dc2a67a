"""``padellm bench drift``: hallucination and drift of a model, as tables and JSON."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream.api import LoadedModel, loaded
from stream.corpora.document import AnnotatedDocument, label_inventory
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.evaluation.count_errors import Recorder
from stream.evaluation.drift import (
    VARIANTS,
    Answered,
    Change,
    Mentions,
    answered,
    invented,
    nameless_texts,
    varied,
    written_mentions,
)
from stream.evaluation.runner import answer
from stream.evaluation.scores import Accuracy
from stream.evaluation.tables import percent, terminal_table
from stream.ner.extractor import Extractor
from stream.settings import Settings

_IN_FLIGHT = 16
_AS_THEY_ARE, _AGAIN, _REVERSED = "as they are", "the same again", "labels in reverse order"
_OTHERS = "annotated texts, labels they lack"
_EMPTY = "annotated texts without entities"


@dataclass(frozen=True, slots=True)
class Drift:
    """Figures of one model.

    Attributes:
        model: Its name and version.
        documents: Annotated documents asked about.
        mentions: What it wrote, by source.
        invented: Pairs of a text and a label without an entity there that were answered, by source.
        texts_answered: Texts without any entity that got one, by source.
        changes: By what was changed; the first is of the answers with themselves.
    """

    model: str
    documents: int
    mentions: dict[str, Mentions]
    invented: dict[str, Accuracy]
    texts_answered: dict[str, Accuracy]
    changes: dict[str, Change]


async def run(data: Path, *, model: Path | None, limit: int) -> Drift:
    """Ask a model about annotated documents, their variants, and texts without names.

    Args:
        data: Annotated documents; their labels are asked for in every text.
        model: Model folder or name; None takes the settings' one.
        limit: Most documents.

    Raises:
        ConfigurationError: The data cannot be read, or holds no entity.
        CheckpointError: The folder holds no model that can be served.
    """
    documents = list(islice(read_documents(data), limit))
    labels = label_inventory(read_documents(data))
    if not labels:
        raise ConfigurationError(f"{data} holds no document with entities, so it names no labels to ask for")
    nameless = {
        kind: [AnnotatedDocument(text=text, entities=()) for text in texts]
        for kind, texts in nameless_texts().items()
    }
    total = len(documents) * (3 + len(VARIANTS)) + sum(map(len, nameless.values()))
    columns = (TextColumn("documents"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with loaded(model) as opened:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            questions = _Questioner(opened, progress, total)
            first = await questions.ask(documents, labels)
            variants = {
                _AGAIN: await questions.ask(documents, labels),
                _REVERSED: await questions.ask(documents, labels[::-1]),
            }
            for name, change in VARIANTS.items():
                variants[name] = await questions.ask([varied(each, change) for each in documents], labels)
            empty = {kind: await questions.ask(texts, labels) for kind, texts in nameless.items()}
        config = opened.template.config
    found_nothing = {_EMPTY: [each for each in first if not each.document.entities]} | empty
    sources = {_AS_THEY_ARE: first} | variants | empty
    return Drift(
        model=f"{config.name} {config.version}",
        documents=len(documents),
        mentions={name: _mentions(each) for name, each in sources.items() if name not in {_AGAIN, _REVERSED}},
        invented={name: invented(each, labels) for name, each in ({_OTHERS: first} | empty).items()},
        texts_answered={name: _texts_answered(each) for name, each in found_nothing.items()},
        changes={name: Change.of(first, each) for name, each in ({_AS_THEY_ARE: first} | variants).items()},
    )


class _Questioner:
    """Asks one model about documents, with progress."""

    def __init__(self, opened: LoadedModel, progress: Progress, total: int) -> None:
        self._template = opened.template
        self._extractor = opened.extractor
        self._generator = opened.generator
        self._progress, self._task = progress, progress.add_task("documents", total=total)

    async def ask(self, documents: Sequence[AnnotatedDocument], labels: Sequence[str]) -> list[Answered]:
        recorder = Recorder(self._generator)
        extractor = Extractor(recorder, self._template, threshold=self._extractor.threshold)
        got = await answer(
            documents,
            extractor,
            labels,
            in_flight=_IN_FLIGHT,
            on_document=lambda: self._progress.advance(self._task),
        )
        return [
            answered(
                each,
                each.settle(self._extractor.policy, self._extractor.calibration).entities,
                list(written_mentions(each, recorder, self._template)),
            )
            for each in got.answers
        ]


def _mentions(answers: Sequence[Answered]) -> Mentions:
    return sum((each.mentions for each in answers), Mentions())


def _texts_answered(answers: Sequence[Answered]) -> Accuracy:
    return Accuracy(sum(bool(each.entities) for each in answers), len(answers))


def summary(drift: Drift) -> dict[str, Any]:
    """The figures as JSON; shares are fractions, F1 in percent."""
    settings = Settings()
    return {
        "model": drift.model,
        "int8": settings.int8,
        "constrained": settings.constrained,
        "documents": drift.documents,
        "mentions": {name: asdict(each) for name, each in drift.mentions.items()},
        "invented": {name: _counted(each) for name, each in drift.invented.items()},
        "texts_answered": {name: _counted(each) for name, each in drift.texts_answered.items()},
        "changes": {
            name: {
                "documents_changed": round(each.documents.share, 4),
                "agreement": round(100 * each.entities.f1, 2),
                "f1": round(100 * each.score.f1, 2),
            }
            for name, each in drift.changes.items()
        },
    }


def _counted(accuracy: Accuracy) -> dict[str, float]:
    return {"answered": accuracy.right, "of": accuracy.total, "share": round(accuracy.share, 4)}


def show(drift: Drift) -> None:
    """Print tables on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(f"{drift.model}, {drift.documents} annotated documents\n")
    for table in (_mentions_table(drift), _invented_table(drift), _changes_table(drift)):
        console.print(table)
        console.print()


def _mentions_table(drift: Drift) -> Table:
    table = terminal_table(
        "Mentions", "written", "not in the text", "%", "without a place", "published", "not at their place"
    )
    for name, each in drift.mentions.items():
        table.add_row(
            name,
            *map(str, (each.written, each.foreign)),
            percent(each.foreign / each.written if each.written else 0),
            *map(str, (each.ungrounded, each.published, each.published_foreign)),
        )
    return table


def _invented_table(drift: Drift) -> Table:
    table = terminal_table("Answers without an entity", "labels", "answered", "%", "texts", "answered", "%")
    for name in dict.fromkeys([*drift.invented, *drift.texts_answered]):
        pairs, texts = drift.invented.get(name), drift.texts_answered.get(name)
        table.add_row(
            name,
            *(
                ("-", "-", "-")
                if pairs is None
                else (str(pairs.total), str(pairs.right), percent(pairs.share))
            ),
            *(("-", "-") if texts is None else (str(texts.total), percent(texts.share))),
        )
    return table


def _changes_table(drift: Drift) -> Table:
    table = terminal_table("The same texts", "answers changed, %", "entities as before, F1", "F1")
    for name, each in drift.changes.items():
        shares = (each.documents.share, each.entities.f1, each.score.f1)
        table.add_row(name, *map(percent, shares))
    return table

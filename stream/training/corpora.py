"""Annotated sentences from disk, with the prompt phrases of their labels."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.corpora.document import AnnotatedDocument
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError
from stream.training.sections import CorpusConfig


@dataclass(frozen=True, slots=True)
class PhraseMention:
    """``text[start:end]`` of its sentence, in code points, under one or more phrases."""

    start: int
    end: int
    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingText:
    """A text with its mentions in text order; ``inventory`` holds every phrase that its corpus annotates."""

    text: str
    mentions: tuple[PhraseMention, ...]
    inventory: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The training sentences of one corpus, in file order."""

    config: CorpusConfig
    sentences: tuple[TrainingText, ...]


def load_corpus(data: Path, config: CorpusConfig, unseen: frozenset[str] = frozenset()) -> Corpus:
    """Read the training sentences of a corpus, without those whose text is among ``unseen``.

    A sentence that names its ``labels`` is asked for those alone, and left out when there are none.

    Raises:
        ConfigurationError: The file is missing, malformed, or marks spans that are not its text's.
    """
    sentences = (
        _sentence(document, config)
        for number, document in enumerate(_documents(data, config, config.split))
        if not _left_out(config, number)
    )
    return Corpus(config, tuple(s for s in sentences if s.inventory and comparable(s.text) not in unseen))


def load_scored(data: Path, config: CorpusConfig) -> tuple[AnnotatedDocument, ...]:
    """Read the documents that score a corpus: its development set, or those that training leaves out.

    Their entities are named by phrase, and entities under labels that are never asked for are left out.

    Raises:
        ConfigurationError: As ``load_corpus``.
    """
    if config.leave_out is None:
        return tuple(_by_phrase(document, config) for document in _documents(data, config, "dev"))
    numbered = enumerate(_documents(data, config, config.split))
    return tuple(_by_phrase(document, config) for number, document in numbered if _left_out(config, number))


def dev_texts(data: Path, names: Sequence[str] = ()) -> frozenset[str]:
    """The texts of the development sets (all in ``data`` unless named), in the form of ``comparable``."""
    folder = data / "ner"
    paths = [folder / name / "dev.jsonl.gz" for name in names] or sorted(folder.glob("*/dev.jsonl.gz"))
    return frozenset(comparable(document.text) for path in paths for document in read_documents(path))


def plain_paragraphs(
    data: Path, files: Sequence[str], unseen: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The paragraphs of ``text/<file>`` for each file, without empty ones."""
    paragraphs = []
    for name in files:
        for line in _lines(data / "text" / name):
            paragraph = line.strip()
            if paragraph and comparable(paragraph) not in unseen:
                paragraphs.append(paragraph)
    return tuple(paragraphs)


def comparable(text: str) -> str:
    """A text without case and white space, so that tokenised and raw copies of a sentence are equal."""
    return "".join(text.casefold().split())


def _documents(data: Path, config: CorpusConfig, split: str) -> Iterator[AnnotatedDocument]:
    return read_documents(data / "ner" / config.name / f"{split}.jsonl.gz")


def _left_out(config: CorpusConfig, number: int) -> bool:
    return config.leave_out is not None and number % config.leave_out == 0


def _sentence(document: AnnotatedDocument, config: CorpusConfig) -> TrainingText:
    mentions = []
    annotated = [
        phrases
        for label, phrases in config.labels.items()
        if document.labels is None or label in document.labels
    ]
    for entity in sorted(document.entities, key=lambda e: (e.start, e.end)):
        phrases = config.labels.get(entity.label)
        if phrases and any(c.isalnum() for c in entity.text):
            mentions.append(PhraseMention(entity.start, entity.end, phrases))
    inventory = tuple(dict.fromkeys(phrase for phrases in annotated for phrase in phrases))
    return TrainingText(document.text, tuple(mentions), inventory)


def _by_phrase(document: AnnotatedDocument, config: CorpusConfig) -> AnnotatedDocument:
    entities = tuple(
        entity.model_copy(update={"label": phrase})
        for entity in document.entities
        for phrase in config.labels.get(entity.label, ())
    )
    return document.model_copy(update={"entities": entities})


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error

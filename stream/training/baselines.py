"""A baseline's model scored while it is trained, by the engine: its answers are long, and need a cache."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stream.engine.decoder import Decoder
from stream.engine.strategy import Strategy
from stream.inference.in_process import InProcessGenerator
from stream.messages import Document
from stream.ner.baselines.reading import baseline_extractor
from stream.ner.extractor import Extraction
from stream.ner.reasons import UNGROUNDED
from stream.ner.tasks import all_of
from stream.training.corpora import Sentence
from stream.training.greedy import Predicted, Reading


def read_with_engine(
    folder: Path, sentences: Sequence[Sentence], labels: Sequence[str], *, threads: int
) -> list[Reading]:
    """What the exported checkpoint of a baseline says of sentences, each asked for all labels.

    Mentions that are not in the text are kept, as ``stream.training.greedy.read`` keeps them.
    """
    return asyncio.run(_read(folder, sentences, labels, threads))


async def _read(
    folder: Path, sentences: Sequence[Sentence], labels: Sequence[str], threads: int
) -> list[Reading]:
    # A checkpoint in training is soon replaced: its graph would only push others out of the user's cache.
    with TemporaryDirectory() as graphs:
        generator = InProcessGenerator(
            Decoder.load(folder, threads=threads, strategy=Strategy.PLAIN, graph_cache=Path(graphs))
        )
        try:
            extractor = baseline_extractor(folder, generator, generator.decoder.longest_sequence)
            asked = [Document(text=sentence.text, labels=list(labels)) for sentence in sentences]
            found = await all_of(map(extractor.extract, asked))
        finally:
            await generator.close()
    return [_reading(one, labels) for one in found]


def _reading(extraction: Extraction, labels: Sequence[str]) -> Reading:
    invented = [one for one in extraction.removed if one.reason == UNGROUNDED]
    found = [Predicted(one.label, one.text, one.score) for one in extraction.entities]
    found += [Predicted(one.label, one.text, one.score) for one in invented]
    return Reading({label: extraction.counts.get(label) for label in labels}, tuple(found))

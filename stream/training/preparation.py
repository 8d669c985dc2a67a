"""What a run reads before it trains: annotated texts, a tokenizer, and plain texts as tokens."""

from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stream.training.config import Recipe
from stream.training.corpora import Corpus, Sentence, dev_texts, load_corpus, plain_paragraphs
from stream.training.detokenise import detokenise
from stream.training.plain_text import plain_ids
from stream.training.sampler import TrainingData
from stream.training.sections import PretrainingConfig
from stream.training.tokenizer import CheckpointTokenizer, adopt_tokenizer, train_tokenizer


def prepare(recipe: Recipe) -> None:
    """Make all that a run needs of the plain texts, so that it can go on where these are not at hand."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(recipe, load_training_data(recipe))
    if recipe.pretraining:
        plain_stream(recipe, recipe.pretraining, tokenizer)


def load_training_data(recipe: Recipe) -> TrainingData:
    """The annotated texts a recipe trains on, the main corpus first, and the plain ones it mixes in.

    No sentence of a development set is among them.
    """
    unseen = dev_texts(recipe.data, recipe.excluded_dev)
    corpora = tuple(
        _drawn(load_corpus(recipe.data, c, unseen=unseen), recipe.seed) for c in recipe.used_corpora
    )
    mixed = recipe.plain if any(stage.plain for stage in recipe.stages) else ()
    return TrainingData(corpora, plain_paragraphs(recipe.data, mixed, unseen))


def make_tokenizer(recipe: Recipe, data: TrainingData) -> CheckpointTokenizer:
    """That of the checkpoint the run starts from, or one trained once and kept in its output folder."""
    if recipe.initial:
        return adopt_tokenizer(recipe.initial, recipe.exported)
    path = recipe.output / "tokenizer.json"
    if not path.exists():
        texts = _tokenizer_texts(recipe, data)
        train_tokenizer(texts, recipe.tokenizer.vocabulary, recipe.exported).save(str(path))
    return CheckpointTokenizer(Tokenizer.from_file(str(path)))


def plain_stream(
    recipe: Recipe, stage: PretrainingConfig, tokenizer: CheckpointTokenizer
) -> NDArray[np.uint16]:
    """The recipe's plain texts as tokens, made once and kept in its output folder (``plain.npy``)."""
    path = recipe.output / "plain.npy"
    if not path.exists():
        _write_stream(path, recipe, stage, tokenizer)
    stream: NDArray[np.uint16] = np.load(path)
    return stream


def _write_stream(
    path: Path, recipe: Recipe, stage: PretrainingConfig, tokenizer: CheckpointTokenizer
) -> None:
    ids = plain_ids(
        recipe.data,
        stage.files,
        tokenizer.tokenizer,
        treebank_share=stage.treebank_share,
        unseen=dev_texts(recipe.data, recipe.excluded_dev),
        seed=recipe.seed,
    )
    fresh = path.with_suffix(".part.npy")
    np.save(fresh, ids)
    fresh.rename(path)


def _drawn(corpus: Corpus, seed: int) -> Corpus:
    """As many of the sentences as the recipe wants, still in file order."""
    limit = corpus.config.limit
    if limit is None or limit >= len(corpus.sentences):
        return corpus
    numbers = sorted(Random(seed).sample(range(len(corpus.sentences)), limit))  # noqa: S311 - reproducible
    return Corpus(corpus.config, tuple(corpus.sentences[number] for number in numbers))


def _tokenizer_texts(recipe: Recipe, data: TrainingData) -> list[str]:
    def both(sentences: tuple[Sentence, ...]) -> list[str]:
        return [text for s in sentences for text in (s.text, detokenise(s).text)]

    texts = both(data.corpora[0].sentences) * recipe.tokenizer.main_copies
    for corpus in data.corpora[1:]:
        texts += [s.text for s in corpus.sentences]
    paragraphs = plain_paragraphs(recipe.data, recipe.plain, dev_texts(recipe.data, recipe.excluded_dev))
    return texts + list(paragraphs[: int(len(paragraphs) * recipe.tokenizer.plain_share)])

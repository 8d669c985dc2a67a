"""Inputs of a run: annotated texts, a tokenizer, and plain texts as tokens."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stream.training.augment import detokenise
from stream.training.corpora import Corpus, TrainingText, dev_texts, load_corpus, plain_paragraphs
from stream.training.recipe import Recipe
from stream.training.sampler import TrainingData
from stream.training.sections import PretrainingConfig
from stream.training.tokenizer import END, CheckpointTokenizer, adopt_tokenizer, token_id, train_tokenizer

_APART = re.compile(r"([,;:!?()\[\]{}\"“”%$]|\.{3}|\.(?=[\s\"”)]*$)|(?<=\w)'(?:s|re|ve|ll|d|m)\b)")
_BATCH = 2000


def plain_ids(
    data: Path,
    files: Mapping[str, int],
    tokenizer: Tokenizer,
    *,
    treebank_share: float,
    unseen: frozenset[str],
    seed: int,
) -> NDArray[np.uint16]:
    """The paragraphs of all files, each file ``files[name]`` times, in random order, an end token after each.

    Args:
        data: Folder with ``text/``.
        files: File to how often it is read.
        tokenizer: Of the checkpoint in training; at most 65,536 ids.
        treebank_share: Share of the paragraphs written as treebanks do.
        unseen: Texts to leave out, in the form of ``corpora.comparable``.
        seed: Of order and choice.
    """
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    paragraphs: list[str] = []
    for name, times in files.items():
        for _ in range(times):
            paragraphs += [
                set_apart(p) if rng.random() < treebank_share else p
                for p in plain_paragraphs(data, [name], unseen)
            ]
    rng.shuffle(paragraphs)
    return np.concatenate([np.array(ids, dtype=np.uint16) for ids in _encoded(paragraphs, tokenizer)])


def set_apart(paragraph: str) -> str:
    """A paragraph with its punctuation between spaces, as the words of treebanks are; about, not exactly."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph)
    return " ".join(" ".join(_APART.sub(r" \1 ", sentence).split()) for sentence in sentences)


def _encoded(paragraphs: list[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    end = token_id(tokenizer, END)
    tokenizer.encode_special_tokens = True
    for start in range(0, len(paragraphs), _BATCH):
        for encoding in tokenizer.encode_batch(paragraphs[start : start + _BATCH], add_special_tokens=False):
            yield [*encoding.ids, end]


def prepare(recipe: Recipe) -> None:
    """Tokenize the plain texts ahead of a run, which then does not need them."""
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
    """The tokenizer of the starting checkpoint, or one trained once and kept in the output folder."""
    if recipe.init_from:
        return adopt_tokenizer(recipe.init_from, recipe.exported)
    path = recipe.output / "tokenizer.json"
    if not path.exists():
        texts = _tokenizer_texts(recipe, data)
        fresh = path.with_suffix(".part")
        train_tokenizer(texts, recipe.tokenizer.vocabulary, recipe.exported).save(str(fresh))
        fresh.rename(path)
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
    """The recipe's number of sentences, still in file order."""
    limit = corpus.config.limit
    if limit is None or limit >= len(corpus.sentences):
        return corpus
    numbers = sorted(Random(seed).sample(range(len(corpus.sentences)), limit))  # noqa: S311 - reproducible
    return Corpus(corpus.config, tuple(corpus.sentences[number] for number in numbers))


def _tokenizer_texts(recipe: Recipe, data: TrainingData) -> list[str]:
    def both(sentences: tuple[TrainingText, ...]) -> list[str]:
        return [text for s in sentences for text in (s.text, detokenise(s).text)]

    texts = both(data.corpora[0].sentences) * recipe.tokenizer.main_copies
    for corpus in data.corpora[1:]:
        texts += [s.text for s in corpus.sentences]
    paragraphs = plain_paragraphs(recipe.data, recipe.plain, dev_texts(recipe.data, recipe.excluded_dev))
    return texts + list(paragraphs[: int(len(paragraphs) * recipe.tokenizer.plain_share)])

"""Plain text as one stream of token ids, for language modelling."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stream.training.corpora import plain_paragraphs
from stream.training.tokenizer import END, token_id

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

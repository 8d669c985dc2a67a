"""The batches of a run.

A step draws from random numbers of its own, so that a resumed run equals one that never stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import numpy as np

from stream.ner.labels import LabelWords
from stream.training import augment
from stream.training.augment import detokenise, parenthesise
from stream.training.corpora import Corpus, TrainingText
from stream.training.packing import IGNORED, PackedBatch, pack
from stream.training.recipe import Recipe
from stream.training.reformulation import Reformulator, Tree, choose_phrases, word_labels
from stream.training.sections import StageConfig

_PARAGRAPH_TOKENS = 128
_TRIES = 20
_NEW_LINES = 0.2
_LINE_WIDTHS = (24, 80)  # characters


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The annotated corpora, the main one first, and the plain paragraphs."""

    corpora: tuple[Corpus, ...]
    paragraphs: tuple[str, ...]


class Sampler:
    """Draws, changes and packs the batch of a step.

    Attributes:
        reformulator: Makes trees of sentences.
    """

    def __init__(self, recipe: Recipe, data: TrainingData, reformulator: Reformulator) -> None:
        self._recipe = recipe
        self._data = data
        self.reformulator = reformulator
        self._totals = list(accumulate(c.config.weight for c in data.corpora[1:]))
        self._own = augment.names_by_phrase(data.corpora[0].sentences)
        self._foreign = augment.names_by_phrase([s for c in data.corpora[1:] for s in c.sentences])

    def stage(self, progress: float) -> StageConfig:
        """The stage of the curriculum at a share of the run."""
        return next((s for s in self._recipe.stages if progress < s.until), self._recipe.stages[-1])

    def __len__(self) -> int:
        """Steps of the run."""
        return self._recipe.training.steps

    def __getitem__(self, step: int) -> PackedBatch:
        """The batch of a step; the same step and recipe give the same batch."""
        rng = Random(f"{self._recipe.seed}-{step}")  # noqa: S311 - reproducible, not secret
        stage = self.stage(step / len(self))
        trees: list[Tree] = []
        tokens = 0
        while tokens < self._recipe.training.batch_tokens:
            tree = self._draw(stage, rng)
            trees.append(tree)
            tokens += len(tree)
        batch = pack(trees, self._recipe.training.max_seq_len)
        draws = np.random.default_rng((self._recipe.seed, step)).random(batch.next_tokens.shape)
        batch.next_tokens[draws >= stage.language_model_share] = IGNORED
        return batch

    def _draw(self, stage: StageConfig, rng: Random) -> Tree:
        options = self._recipe.augmentation
        for _ in range(_TRIES):
            if self._data.paragraphs and rng.random() < stage.plain:
                return self._paragraph(rng)
            corpus = self._corpus(stage, rng)
            sentence = self._sentence(corpus, stage.augmentation, rng)
            tree = self.reformulator.tree(sentence, self._asked(sentence, rng))
            if len(tree.root) <= options.max_text_tokens + 1:
                return tree
        return tree

    def _asked(self, sentence: TrainingText, rng: Random) -> dict[str, LabelWords]:
        """The labels that a sentence is asked for, and the words for each."""
        options = self._recipe.augmentation
        phrases = choose_phrases(
            sentence,
            options.max_labels,
            rng,
            max_absent=options.max_absent,
            absent_share=options.absent_share,
            shuffled=options.label_order == "shuffled",
        )
        return word_labels(
            phrases,
            self._recipe.ner,
            rng,
            described=options.described_labels,
            aliased=options.aliased_labels,
        )

    def _paragraph(self, rng: Random) -> Tree:
        """Consecutive paragraphs, cut to one length; they have no labels."""
        start = rng.randrange(len(self._data.paragraphs))
        text = " ".join(self._data.paragraphs[start : start + 4])[: _PARAGRAPH_TOKENS * 6]
        tree = self.reformulator.tree(TrainingText(text, (), ()), ())
        size = _PARAGRAPH_TOKENS
        return Tree(tree.root[:size], (), tree.end_id, tree.bio_tags[:size], tree.mention_indices[:size], ())

    def _corpus(self, stage: StageConfig, rng: Random) -> Corpus:
        if not self._totals or rng.random() < stage.main:
            return self._data.corpora[0]
        return rng.choices(self._data.corpora[1:], cum_weights=self._totals)[0]

    def _sentence(self, corpus: Corpus, strength: float, rng: Random) -> TrainingText:
        options = self._recipe.augmentation
        length = rng.choice((2, 3, 4)) if rng.random() < strength * options.joined else 1
        start = rng.randrange(len(corpus.sentences))
        drawn: Sequence[TrainingText] = corpus.sentences[start : start + length]
        if corpus is self._data.corpora[0] and rng.random() < strength * options.swapped_documents:
            drawn = [self._swap(sentence, rng) for sentence in drawn]
        if rng.random() < strength * options.raw:
            drawn = [detokenise(s, spaced_hyphens=corpus.config.spaced_hyphens) for s in drawn]
        elif rng.random() < strength * options.raw:
            drawn = [parenthesise(s) for s in drawn]
        sentence = augment.join(drawn, "\n" if rng.random() < _NEW_LINES else " ")
        if rng.random() < options.wrapped:
            sentence = augment.wrap(sentence, rng.randint(*_LINE_WIDTHS))
        draw = rng.random()
        if draw < options.upper_case:
            return augment.upper_case(sentence)
        return augment.lower_case(sentence) if draw < options.upper_case + options.lower_case else sentence

    def _swap(self, sentence: TrainingText, rng: Random) -> TrainingText:
        options = self._recipe.augmentation
        names = self._foreign if rng.random() < options.foreign_names else self._own
        return augment.swap_names(sentence, names, options.swapped_mentions, rng)

"""The score that a run watches: F1 on what its main corpus is scored on."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stream.ner.template import PromptTemplate
from stream.training.baselines import read_with_engine
from stream.training.config import Recipe
from stream.training.corpora import Sentence, load_scored
from stream.training.device import products
from stream.training.greedy import Scores, keep_likeliest, read, score


class Scorer:
    """Scores models of one run, de-duplicated.

    Args:
        recipe: Of the run.
        template: Its prompts.
        device: Where models are read.
    """

    def __init__(self, recipe: Recipe, template: PromptTemplate, device: torch.device) -> None:
        self._recipe = recipe
        self._template = template
        self._device = device
        self._labels = recipe.ner.default_labels

    def model(self, causal: PreTrainedModel, sample: int | None = None) -> Scores:
        """Score a model by plain greedy decoding.

        Args:
            causal: In evaluation mode, on the device.
            sample: About so many sentences, spread over the whole set; default: all.
        """
        sentences = self._sentences(sample)
        with products(self._device, bfloat16=False):
            readings = read(causal, self._template, sentences, self._labels)
        return score(sentences, readings, self._labels, keep_likeliest)

    def checkpoint(self, folder: Path, sample: int | None = None) -> Scores:
        """Score an exported checkpoint; that of a baseline on the engine, as its answers are long.

        Args:
            folder: The checkpoint.
            sample: As for ``model``.
        """
        if self._recipe.baseline:
            sentences = self._sentences(sample)
            readings = read_with_engine(folder, sentences, self._labels, threads=self._recipe.threads)
            return score(sentences, readings, self._labels)
        attention = "sdpa" if self._device.type == "cuda" else "eager"
        causal = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
        )
        return self.model(causal.to(self._device).eval(), sample)

    def _sentences(self, sample: int | None) -> tuple[Sentence, ...]:
        sentences = load_scored(self._recipe.data, self._recipe.used_corpora[0])
        return sentences[:: max(1, len(sentences) // sample) if sample else 1]

"""The score that a run watches: F1 on what its main corpus is scored on."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stream.ner.template import PromptTemplate
from stream.training.baselines import read_with_engine
from stream.training.config import Recipe
from stream.training.corpora import Sentence, load_scored
from stream.training.device import products
from stream.training.engine_check import engine_refusal
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

    def by_engine(self, causal: PreTrainedModel) -> bool:
        """Whether the engine scores a model's export.

        Answers of a baseline are long, and so are the minutes that a checkpoint of others takes on a CPU
        without a cache.
        """
        if self._recipe.baseline:
            return True
        foreign = self._recipe.initial is not None and self._device.type == "cpu"
        return foreign and engine_refusal(causal) is None

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

    def checkpoint(self, folder: Path, sample: int | None = None, *, engine: bool) -> Scores:
        """Score an exported checkpoint.

        Args:
            folder: The checkpoint.
            sample: As for ``model``.
            engine: On the engine, or else by plain greedy decoding.
        """
        if engine:
            sentences = self._sentences(sample)
            readings = read_with_engine(folder, sentences, self._labels, threads=self._recipe.threads)
            select = tuple if self._recipe.baseline else keep_likeliest
            return score(sentences, readings, self._labels, select)
        attention = "sdpa" if self._device.type == "cuda" else "eager"
        causal = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
        )
        return self.model(causal.to(self._device).eval(), sample)

    def _sentences(self, sample: int | None) -> tuple[Sentence, ...]:
        sentences = load_scored(self._recipe.data, self._recipe.used_corpora[0])
        return sentences[:: max(1, len(sentences) // sample) if sample else 1]

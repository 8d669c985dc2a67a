"""Reads windows with a baseline's model."""

import time
from collections.abc import Sequence
from pathlib import Path

from stream.aio import all_of
from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.prompts import BaselinePrompts, LabelledPrompt
from stream.contract.messages import Policy
from stream.generation import Completion, Generator, Prompt
from stream.ner.extractor import Extractor
from stream.ner.labels import LabelPrompt, LabelWords
from stream.ner.parallel_decoding import (
    Count,
    LabelAnswer,
    Mention,
    WindowResult,
    add_answer,
    probability,
)
from stream.ner.spans import SpanAligner
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window


class BaselineReader:
    """Reads windows with a baseline's model; the mentions of a label are counted, as no count is asked for.

    Args:
        generator: Runs the model.
        template: Its prompts and tokenizer.
        prompts: Its format.
        longest: Most tokens that a prompt and its answer may have together.
    """

    def __init__(
        self, generator: Generator, template: PromptTemplate, prompts: BaselinePrompts, longest: int
    ) -> None:
        self._generator = generator
        self._template = template
        self._prompts = prompts
        self._longest = longest

    async def decode(self, text: str, window: Window, labels: Sequence[LabelPrompt]) -> WindowResult:
        """See ``WindowDecoder``; an answer without an end token is parsed as far as it goes."""
        began = time.perf_counter()
        prefix, most = self._template.prefix_ids(window.ids), self._prompts.longest_answer(len(window.ids))
        words = {label.name: self._template.label_text(label.name) for label in labels}
        prompts = self._prompts.prompts(prefix, {name: LabelWords(one, one) for name, one in words.items()})
        completions = await all_of(self._generator.generate(self._limited(one, most)) for one in prompts)
        result = WindowResult(window, [], [], {}, [], 0.0, (time.perf_counter() - began) * 1000)
        aligner = SpanAligner(text[window.start : window.end])
        found = {label: list[Mention]() for label in words}
        for prompt, completion in zip(prompts, completions, strict=True):
            for one in self._prompts.read(prompt, completion.ids):
                found[one.label].append(self._mention(completion, one.places))
        for label, mentions in found.items():
            add_answer(result, aligner, label, LabelAnswer(Count(len(mentions), 1.0), mentions))
        return result

    def _limited(self, prompt: LabelledPrompt, most: int) -> Prompt:
        left = max(1, self._longest - len(prompt.ids))
        return Prompt(prompt.ids, min(most, left), self._template.end_id)

    def _mention(self, completion: Completion, places: Sequence[int]) -> Mention:
        return Mention(
            self._template.decode_mention([completion.ids[place] for place in places]),
            probability([completion.log_probs[place] for place in places]),
        )


def baseline_extractor(folder: Path, generator: Generator, longest: int) -> Extractor:
    """An extractor over the checkpoint of a baseline.

    Args:
        folder: The checkpoint.
        generator: Runs it.
        longest: Most tokens that a prompt and its answer may have together.

    Raises:
        CheckpointError: The folder holds no baseline.
    """
    config = BaselineConfig.load(folder)
    template = PromptTemplate.load(folder, config.ner)
    prompts = BaselinePrompts(template, config.format)
    return Extractor(
        generator,
        template,
        policy=usual_policy(config.format),
        decoder=BaselineReader(generator, template, prompts, longest),
    )


def usual_policy(baseline: Baseline) -> Policy:
    """The paper's de-duplication for a format that asks for each label apart; none for the others."""
    return Policy.PAPER if baseline is Baseline.ONESTEP else Policy.MULTI

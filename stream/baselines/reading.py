"""One window read by a baseline's model."""

import time
from collections.abc import Sequence
from pathlib import Path

from stream.aio import all_of
from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.prompts import BaselinePrompts, Question
from stream.contract.messages import Policy
from stream.generation import Completion, Generator, Prompt
from stream.ner.extractor import Extractor
from stream.ner.labels import LabelPrompt, LabelWords
from stream.ner.reading import Count, LabelAnswer, Mention, Reading, probability, record
from stream.ner.spans import Grounder
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window


class BaselineReader:
    """Reads windows with the model of a baseline; what it says of a label is counted, not asked.

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

    async def read(self, text: str, window: Window, labels: Sequence[LabelPrompt]) -> Reading:
        """See ``stream.ner.reading.Reader``; an answer without end is cut, and read as far as it goes."""
        began = time.perf_counter()
        prefix, most = self._template.prefix_ids(window.ids), self._prompts.longest_answer(len(window.ids))
        words = {label.name: self._template.label_text(label.name) for label in labels}
        questions = self._prompts.questions(
            prefix, {name: LabelWords(one, one) for name, one in words.items()}
        )
        completions = await all_of(self._generator.generate(self._prompt(one, most)) for one in questions)
        reading = Reading(window, [], [], {}, [], 0.0, (time.perf_counter() - began) * 1000)
        grounder = Grounder(text[window.start : window.end])
        found = {label: list[Mention]() for label in words}
        for question, completion in zip(questions, completions, strict=True):
            for one in self._prompts.read(question, completion.ids):
                found[one.label].append(self._mention(completion, one.places))
        for label, mentions in found.items():
            record(reading, grounder, label, LabelAnswer(Count(len(mentions), 1.0), mentions))
        return reading

    def _prompt(self, question: Question, most: int) -> Prompt:
        room = max(1, self._longest - len(question.ids))
        return Prompt(question.ids, min(most, room), self._template.end_id)

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
        reader=BaselineReader(generator, template, prompts, longest),
    )


def usual_policy(baseline: Baseline) -> Policy:
    """The paper's de-duplication for a format that asks for each label apart; none for the others."""
    return Policy.PAPER if baseline is Baseline.ONESTEP else Policy.MULTI

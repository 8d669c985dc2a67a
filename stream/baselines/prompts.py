"""Prompts of a baseline, and its answers by label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream.baselines.answers import AnsweredMention, GoldMention, Ids, Marks, answer_form
from stream.baselines.config import Baseline
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate
from stream.ner.text_tokens import TextTokens

# An answer without an end is cut here, by tokens of the text and beyond: it may still make every token a
# mention with a label of three tokens, or in OneStep with a comma.
_MOST_PER_TOKEN = {Baseline.AUTOREG_STRUCT: 8, Baseline.AUTOREG_AUG: 8, Baseline.ONESTEP: 2}
_MOST_BESIDE = 16


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt with the labels it asks for.

    Attributes:
        ids: Its token ids.
        labels: Each label with the ids that name it in an answer.
    """

    ids: Ids
    labels: Mapping[str, Ids]


class BaselinePrompts:
    """Asks in the format of a baseline, writes its right answers and reads a model's.

    Args:
        template: The checkpoint's prompts and tokenizer.
        baseline: The format.
        forced: The checkpoint was trained for another format, and answers are only forced, never read: marks
            are then ordinary tokens.

    Raises:
        CheckpointError: The tokenizer lacks the marks of the format.
    """

    def __init__(self, template: PromptTemplate, baseline: Baseline, *, forced: bool = False) -> None:
        self.baseline = baseline
        self._template = template
        self._marks = (Marks.plain if forced else Marks.trained)(baseline, template)
        self._form = answer_form(baseline, self._marks)
        self._ids: dict[str, Ids] = {}

    def prompts(self, prefix_ids: Sequence[int], labels: Mapping[str, LabelWords]) -> list[LabelledPrompt]:
        """The prompts for some labels of one text: one for each in OneStep, or else one for all.

        Args:
            prefix_ids: From ``PromptTemplate.prefix_ids``.
            labels: Label to its words, in the order in which a prompt names them.
        """
        if self.baseline is Baseline.ONESTEP:
            return [self._prompt(prefix_ids, {name: words}) for name, words in labels.items()]
        return [self._prompt(prefix_ids, labels)] if labels else []

    def answer(self, prompt: LabelledPrompt, text: TextTokens, mentions: Iterable[GoldMention]) -> Ids:
        """The right answer to a prompt, without the end id; mentions of other labels are left out."""
        asked = [one for one in mentions if one.label in prompt.labels]
        asked.sort(key=lambda one: (one.start, -one.end))
        return self._form.write(text, asked, prompt.labels)

    def read(self, prompt: LabelledPrompt, answer: Sequence[int]) -> list[AnsweredMention]:
        """The mentions of an answer, in the order of the text."""
        return self._form.read(answer, prompt.labels)

    def longest_answer(self, text_tokens: int) -> int:
        """Tokens after which an answer about a text of so many tokens is cut."""
        return _MOST_BESIDE + _MOST_PER_TOKEN[self.baseline] * text_tokens

    def _prompt(self, prefix_ids: Sequence[int], labels: Mapping[str, LabelWords]) -> LabelledPrompt:
        asked: Ids = ()
        for words in labels.values():
            asked += (self._marks.comma if asked else ()) + self._encode(words.asked)
        prompt = self._template.count_prompt(prefix_ids, asked)
        return LabelledPrompt(prompt.ids, {name: self._encode(words.name) for name, words in labels.items()})

    def _encode(self, words: str) -> Ids:
        if words not in self._ids:
            self._ids[words] = self._template.encode_text(words).ids
        return self._ids[words]

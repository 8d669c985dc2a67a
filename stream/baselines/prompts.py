"""The prompts of a baseline, and its answers by label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream.baselines.answers import Found, Marked, answer_form
from stream.baselines.config import Baseline
from stream.baselines.marks import Ids, Marks
from stream.ner.encoded_text import SpelledText
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate

# An answer that does not end is cut here, per token of the text and beyond: room for a text all of whose
# tokens are mentions with labels of three tokens, or in OneStep with a comma each.
_MOST_PER_TOKEN = {Baseline.AUTOREG_STRUCT: 8, Baseline.AUTOREG_AUG: 8, Baseline.ONESTEP: 2}
_MOST_BESIDE = 16


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt.

    Attributes:
        ids: The prompt's token ids.
        labels: What it asks for: each label and the ids that name it in an answer.
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

    def questions(self, prefix_ids: Sequence[int], labels: Mapping[str, LabelWords]) -> list[Question]:
        """The prompts for some labels of one text: one for each in OneStep, or else one for all.

        Args:
            prefix_ids: From ``PromptTemplate.prefix_ids``.
            labels: Label to its words, in the order in which a prompt names them.
        """
        if self.baseline is Baseline.ONESTEP:
            return [self._question(prefix_ids, {name: words}) for name, words in labels.items()]
        return [self._question(prefix_ids, labels)] if labels else []

    def answer(self, question: Question, text: SpelledText, mentions: Iterable[Marked]) -> Ids:
        """The right answer to a question, without the end id; mentions of other labels are left out."""
        asked = [one for one in mentions if one.label in question.labels]
        asked.sort(key=lambda one: (one.start, -one.end))
        return self._form.write(text, asked, question.labels)

    def read(self, question: Question, answer: Sequence[int]) -> list[Found]:
        """The mentions of an answer, in the order of the text."""
        return self._form.read(answer, question.labels)

    def longest_answer(self, text_tokens: int) -> int:
        """Tokens after which an answer about a text of so many tokens is cut."""
        return _MOST_BESIDE + _MOST_PER_TOKEN[self.baseline] * text_tokens

    def _question(self, prefix_ids: Sequence[int], labels: Mapping[str, LabelWords]) -> Question:
        asked: Ids = ()
        for words in labels.values():
            asked += (self._marks.comma if asked else ()) + self._encode(words.asked)
        prompt = self._template.count_prompt(prefix_ids, asked)
        return Question(prompt.ids, {name: self._encode(words.name) for name, words in labels.items()})

    def _encode(self, words: str) -> Ids:
        if words not in self._ids:
            self._ids[words] = self._template.encode_text(words).ids
        return self._ids[words]

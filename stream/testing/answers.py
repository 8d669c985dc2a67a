"""Scripted model: a ``Generator`` whose answers a test chooses."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate

AnswerFunction = Callable[[str, str], Sequence[str]]
"""Mentions for a text and an entity type, in the order of the text.

The text is one window of the document. The type is spelled as in the prompt: the model's phrase, with the
document's definition behind it. An error of ``stream.errors`` that it raises is an error of the model.
"""

Answers = Mapping[str, Iterable[str]] | AnswerFunction
"""Mentions by label, found wherever they stand in a text; or a function."""

_LOG_PROB = -0.01
_PLACEHOLDER = -1  # no token id
_DEFINITION = "\0"


class ScriptedGenerator:
    """Answers prompts as scripted, each token with the same probability.

    Args:
        answers: The script. At most the checkpoint's ``max_count`` mentions of a window count.
        template: Of the checkpoint whose prompts are answered.
    """

    def __init__(self, answers: Answers, template: PromptTemplate) -> None:
        self._template = template
        self._mentions = answers if callable(answers) else _finder(answers, template)
        self._text = template.prefix_ids(())
        around = template.count_prompt((), (_PLACEHOLDER,)).ids
        at = around.index(_PLACEHOLDER)
        self._label, self._count = around[:at], around[at + 1 :]
        most = template.config.max_count
        nothing = Prompt((), 1, template.end_id)
        self._asked = {
            template.mention_prompt(nothing, count, k).ids: k
            for count in range(1, most + 1)
            for k in range(1, count + 1)
        }

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer a count prompt or a mention prompt."""
        # A marker holds a control token, which no text can hold: its first place is its only one.
        text, rest = _split(prompt.ids[len(self._text) :], self._label)
        words, asked = _split(rest, self._count)
        decode = self._template.decode_mention
        mentions = self._mentions(decode(text), decode(words))[: self._template.config.max_count]
        ids = (
            self._template.encode_text(mentions[self._asked[asked] - 1]).ids
            if asked
            else self._template.count_answer_ids(len(mentions))
        )
        return Completion(ids, (_LOG_PROB,) * len(ids))

    async def ready(self) -> bool:
        """Return True: a script is always ready."""
        return True

    async def close(self) -> None:
        """Nothing to release."""


def _split(ids: Sequence[int], marker: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before the first place of a marker, and those after it."""
    at = next(at for at in range(len(ids)) if tuple(ids[at : at + len(marker)]) == marker)
    return tuple(ids[:at]), tuple(ids[at + len(marker) :])


def _finder(answers: Mapping[str, Iterable[str]], template: PromptTemplate) -> AnswerFunction:
    """Find every place of the mentions of a label; of two that begin at one place the longer counts."""
    patterns = [
        (_asking_for(label, template), re.compile("|".join(map(re.escape, longest_first))))
        for label, mentions in answers.items()
        if (longest_first := sorted(set(mentions), key=len, reverse=True))
    ]

    def find(text: str, words: str) -> Sequence[str]:
        mentions = (mention for asking, mention in patterns if asking.fullmatch(words))
        return next((mention.findall(text) for mention in mentions), ())

    return find


def _asking_for(label: str, template: PromptTemplate) -> re.Pattern[str]:
    """Words of prompts for a label, with any definition or none."""
    plain, defined = (re.escape(template.label_text(label, each)) for each in (None, _DEFINITION))
    return re.compile(f"{plain}|{defined.replace(re.escape(_DEFINITION), '.*')}", re.DOTALL)

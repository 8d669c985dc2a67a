"""A generator that knows the gold entities: it reads a prompt's ids and answers as a perfect model would."""

import asyncio
import math
from collections.abc import Callable, Sequence

from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from tests.tiny_model import END_TOKEN, tiny_ner_config, tiny_tokenizer

Gold = Callable[[str, str], Sequence[str]]


def tiny_template(*, tokens: int = 160, overlap: int = 32, max_count: int = 12) -> PromptTemplate:
    """The template of the tiny checkpoint: one token a byte, a control token for every marker."""
    config = tiny_ner_config(max_count=max_count)
    config = config.model_copy(
        update={
            "window": config.window.model_copy(update={"tokens": tokens, "overlap": overlap}),
            "max_mention_tokens": 1000,
        }
    )
    tokenizer = tiny_tokenizer(config)
    return PromptTemplate(config, tokenizer, tokenizer.token_to_id(END_TOKEN))


class Oracle:
    """Answers from gold mentions.

    Args:
        template: Builds the prompts that this reads.
        gold: Window text and label piece of a prompt to the mentions, in order.
        score: Probability of a mention, by label piece and mention.
        count_score: Probability of every count.
    """

    def __init__(
        self,
        template: PromptTemplate,
        gold: Gold,
        *,
        score: Callable[[str, str], float] = lambda label, mention: 0.9,
        count_score: float = 0.8,
    ) -> None:
        self.template = template
        self.gold = gold
        self.score = score
        self.count_score = count_score
        self.prompts: list[Prompt] = []
        self.running = 0
        self.most_running = 0

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer a count or mention prompt."""
        self.prompts.append(prompt)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            return self._answer(prompt)
        finally:
            self.running -= 1

    async def ready(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to release."""

    def _answer(self, prompt: Prompt) -> Completion:
        text, label, rest = self.read(prompt)
        mentions = self.gold(text, label)
        if not rest:
            return self._completion(self.template.count_answer_ids(len(mentions)), self.count_score)
        count = len(mentions)
        k = next(
            k
            for k in range(1, count + 1)
            if rest == (*self.template.count_answer_ids(count), *self.template._mentions[k - 1])
        )
        mention = mentions[k - 1]
        return self._completion(self.template.encode_text(mention).ids, self.score(label, mention))

    def read(self, prompt: Prompt) -> tuple[str, str, tuple[int, ...]]:
        """Text, label piece and what follows the count marker, taken from the ids alone."""
        template, ids = self.template, prompt.ids
        (text_marker,), (label_marker,), (count_marker,) = template._text, template._label, template._count
        assert ids[0] == text_marker
        assert [ids.count(marker) for marker in (text_marker, label_marker, count_marker)] == [1, 1, 1]
        label, count = ids.index(label_marker), ids.index(count_marker)
        decode = template._tokenizer.decode
        return decode(list(ids[1:label])), decode(list(ids[label + 1 : count])), ids[count + 1 :]

    def _completion(self, ids: tuple[int, ...], score: float) -> Completion:
        return Completion(ids, (math.log(score),) + (0.0,) * (len(ids) - 1))

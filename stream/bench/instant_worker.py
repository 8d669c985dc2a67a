"""The real worker over a model that answers at once, as a program of its own: what is left is the plumbing.

The first token of each text is an entity of the first default label, and there is no other. So a document is
a count prompt for every label, and one mention prompt.
"""

from pathlib import Path

from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.app import run
from stream.worker.metrics import WorkerMetrics

_LOG_PROB = -0.01


class InstantGenerator:
    """Answers from the two ends of a prompt."""

    def __init__(self, template: PromptTemplate) -> None:
        label = template.label_text(template.config.default_labels[0])
        nothing = Prompt((), 1, template.end_id)
        self._text = len(template.prefix_ids(()))
        self._first_label = template.count_prompt((), template.encode_text(label).ids).ids
        self._first_mention = template.mention_prompt(nothing, 1, 1).ids
        self._none, self._one = (_completion(template.count_answer_ids(count)) for count in (0, 1))

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer a count prompt or a mention prompt."""
        if _ends_with(prompt, self._first_mention):
            return _completion(prompt.ids[self._text : self._text + 1])
        return self._one if _ends_with(prompt, self._first_label) else self._none

    async def ready(self) -> bool:
        """Return True: nothing can be away."""
        return True

    async def close(self) -> None:
        """Nothing to release."""


def _ends_with(prompt: Prompt, ids: tuple[int, ...]) -> bool:
    return prompt.ids[-len(ids) :] == ids


def _completion(ids: tuple[int, ...]) -> Completion:
    return Completion(ids, (_LOG_PROB,) * len(ids))


async def _make(_settings: Settings, folder: Path, _metrics: WorkerMetrics) -> InstantGenerator:
    return InstantGenerator(PromptTemplate.load(folder))


if __name__ == "__main__":
    run(Settings(), make=_make)

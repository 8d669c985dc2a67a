"""The real worker over a scripted model, as a program of its own: tests start and kill it.

The first word of a text is a person; orders after it make the model misbehave:
``SLEEP s``, ``WAIT-FOR file`` (until it exists), ``AWAY-WHILE file`` (the model is unavailable while it
exists), ``DIE-WHILE file`` (the model is gone for good, if the file exists), ``REJECT``, ``REJECT-MENTION``
(mention prompts alone), ``TIMEOUT``, ``FAULT``.
"""

import asyncio
from pathlib import Path

from stream.errors import InferenceRejected, InferenceStopped, InferenceTimeout, InferenceUnavailable
from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.app import run
from stream.worker.metrics import WorkerMetrics


class ScriptedGenerator:
    """Answers from the prompt's text alone."""

    def __init__(self, folder: Path) -> None:
        self._template = PromptTemplate.load(folder)
        self._person = self._template.encode_text("person").ids
        self._stopped: InferenceStopped | None = None

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer as the text orders."""
        text = self._text(prompt)
        await self._obey(text.split())
        if prompt.max_new_tokens == self._template.config.max_mention_tokens:
            if "REJECT-MENTION" in text.split():
                raise InferenceRejected("the scripted model refuses")
            ids = self._template.encode_text(text.split()[0]).ids
            return Completion(ids, (-0.01,) * len(ids))
        ids = self._template.count_answer_ids(1 if self._asks_for_person(prompt) else 0)
        return Completion(ids, (-0.01,) * len(ids))

    async def ready(self) -> bool:
        """Until the model is gone for good."""
        if self._stopped is not None:
            raise self._stopped
        return True

    async def close(self) -> None:
        """Nothing to release."""

    async def _obey(self, words: list[str]) -> None:
        for order, argument in zip(words, [*words[1:], ""], strict=True):
            if order == "SLEEP":
                await asyncio.sleep(float(argument))
            while order == "WAIT-FOR" and not _is_there(argument):  # noqa: ASYNC110 - another process sets it
                await asyncio.sleep(0.05)
            if order == "AWAY-WHILE" and _is_there(argument):
                raise InferenceUnavailable("the scripted model is unavailable")
            if order == "DIE-WHILE" and _is_there(argument):
                self._stopped = InferenceStopped("the scripted model is gone for good")
                raise self._stopped
            if order == "REJECT":
                raise InferenceRejected("the scripted model refuses")
            if order == "TIMEOUT":
                raise InferenceTimeout("the scripted model is slow")
            if order == "FAULT":
                raise ZeroDivisionError("a scripted fault")

    def _text(self, prompt: Prompt) -> str:
        start = len(self._template.prefix_ids(()))
        marker = self._template.count_prompt((), ())
        label_marker = marker.ids[0]
        return self._template.decode_mention(prompt.ids[start : prompt.ids.index(label_marker, start)])

    def _asks_for_person(self, prompt: Prompt) -> bool:
        wanted = self._template.count_prompt((), self._person).ids
        return prompt.ids[-len(wanted) :] == wanted


def _is_there(flag: str) -> bool:
    return Path(flag).exists()


async def _make(_settings: Settings, folder: Path, _metrics: WorkerMetrics) -> ScriptedGenerator:
    return ScriptedGenerator(folder)


if __name__ == "__main__":
    run(Settings(), make=_make)

"""A visitor's text through the model, told by rounds, and by passes where the engine is in this process."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import ValidationError

from stream.contract.messages import Document, Entity, Removed
from stream.contract.rules import check_labels, check_text
from stream.errors import BadDocument, InferenceError
from stream.generation import Completion, Generator, Prompt, asked_for
from stream.ner.extractor import Extractor
from stream.ner.parallel_decoding import WindowResult
from stream.ner.postprocess import postprocess
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.page.samples import SHOWN_CHARACTERS, text_json

if TYPE_CHECKING:
    from stream.engine.trace import PassTrace, SequenceTrace

_PATIENCE = 30.0
_ORIGIN = "page"
_SHOWN_DRAFTS = 6  # of a prompt in a pass, the best first
_ROUNDS = ("count_ms", "mention_ms")


class TrialRefusedError(Exception):
    """A text is not tried; the message says why."""


@runtime_checkable
class _Traceable(Protocol):
    """A generator whose passes can be seen: the engine in this process."""

    def tracing(self, on_pass: Callable[["PassTrace"], None]) -> AbstractContextManager[None]: ...


class _Remembering:
    """A generator that remembers its prompts."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.ready, self.close = generator.ready, generator.close
        self.prompts: set[tuple[int, ...]] = set()

    async def generate(self, prompt: Prompt) -> Completion:
        self.prompts.add(prompt.ids)
        return await self._generator.generate(prompt)


class TextTrial:
    """Extracts texts of visitors, one at a time: they share the model with the stream.

    Args:
        settings: Effective settings.
        template: The checkpoint's.
        generator: The model, as the stream asks it; its answers here are not counted for the stream.
    """

    def __init__(self, settings: Settings, template: PromptTemplate, generator: Generator) -> None:
        self._settings = settings
        self._template, self._generator = template, generator
        self._asking = _Remembering(generator)
        self._extractor = Extractor(
            self._asking, template, policy=settings.policy, threshold=settings.threshold
        )
        self._one_at_a_time = asyncio.Lock()
        self.default_labels = template.config.default_labels

    async def tell(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Try a text, and tell what the model answered and what was made of it.

        Args:
            asked: ``text`` and ``labels`` as in a document.

        Raises:
            TrialRefusedError: The text or a label is refused, another text is being tried, or the model does
                not answer.
        """
        document = self._document(asked)
        if self._one_at_a_time.locked():
            raise TrialRefusedError("another text is being tried: try again in a moment")
        async with self._one_at_a_time:
            try:
                with asked_for(_ORIGIN), self._traced() as passes:
                    async with asyncio.timeout(_PATIENCE):
                        raw = await self._extractor.ask(document)
            except InferenceError as error:
                raise TrialRefusedError(f"the model does not answer: {error}") from error
            except TimeoutError:
                raise TrialRefusedError(f"the model has not answered for {_PATIENCE:.0f} s") from None
        extraction = postprocess(
            raw,
            policy=self._extractor.policy,
            threshold=self._extractor.threshold,
            calibration=self._extractor.calibration,
        )
        return {
            "text": text_json(document.text, extraction.entities),
            "rounds": _rounds(raw.windows),
            "entities": [entity.model_dump(mode="json") for entity in extraction.entities],
            "removed": [removed.model_dump(mode="json") for removed in extraction.removed],
            "passes": self._explained(passes),
        }

    @contextmanager
    def _traced(self) -> Iterator[list["PassTrace"]]:
        """Passes of this block, those of other documents among them; none where the engine is elsewhere."""
        passes: list[PassTrace] = []
        self._asking.prompts.clear()
        if not isinstance(self._generator, _Traceable):
            yield passes
            return
        with self._generator.tracing(passes.append):
            yield passes

    def _explained(self, passes: list["PassTrace"]) -> list[dict[str, Any]]:
        """Passes that answered prompts of this text, told of those prompts alone."""
        if not passes:
            return []
        from stream.passes import explain  # noqa: PLC0415 - a worker beside Triton has no engine

        own = (
            replace(trace, prefilled=(), sequences=tuple(filter(self._is_own, trace.sequences)))
            for trace in passes
        )
        steps = explain([trace for trace in own if trace.sequences], self._template)
        for step in (told := list(map(asdict, steps))):
            for answering in step["answering"]:
                answering["candidates"] = answering["candidates"][:_SHOWN_DRAFTS]
        return told

    def _is_own(self, trace: "SequenceTrace") -> bool:
        return trace.prompt in self._asking.prompts

    def _document(self, asked: dict[str, Any]) -> Document:
        try:
            document = Document.model_validate(
                {"text": asked.get("text", ""), "labels": asked.get("labels") or None}, strict=True
            )
            check_text(document.text, most=SHOWN_CHARACTERS)
            check_labels(document.labels, most=self._settings.max_labels)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise TrialRefusedError(f"{place}: {problem['msg']}") from error
        except BadDocument as error:
            raise TrialRefusedError(str(error)) from error
        return document


def _rounds(windows: Sequence[WindowResult]) -> list[dict[str, Any]]:
    """The two rounds of prompts; each goes through all windows of the text at once."""
    counts = [
        {"label": label, "answer": str(count)} for window in windows for label, count in window.counts.items()
    ]
    mentions = [_mention(one, None) for window in windows for one in window.entities]
    mentions += [_mention(one, one.reason) for window in windows for one in window.removed]
    times = (max((getattr(window, name) for window in windows), default=0.0) for name in _ROUNDS)
    return [
        {"name": name.removesuffix("_ms"), "ms": round(spent, 1), "answers": answers}
        for name, spent, answers in zip(_ROUNDS, times, (counts, mentions), strict=True)
    ]


def _mention(one: Entity | Removed, dropped: str | None) -> dict[str, Any]:
    return {"label": one.label, "answer": one.text, "score": round(one.score, 3), "dropped": dropped}

"""Parallel decoding of one window: all counts at once, then all mentions (PaDeLLM-NER, section 3.2)."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream.aio import all_of
from stream.contract.messages import Entity, Removed
from stream.contract.reasons import RemovalReason, Stage
from stream.errors import InferenceError
from stream.generation import Completion, Generator
from stream.ner.labels import LabelPrompt
from stream.ner.spans import SpanAligner
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window
from stream.tracing import SharedSpan


@dataclass(frozen=True, slots=True)
class Count:
    """The model's count of a label's mentions.

    Attributes:
        number: The count, or None where the answer is no count.
        score: Probability of the answer, in [0, 1].
    """

    number: int | None
    score: float


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention as the model wrote it.

    Attributes:
        text: Its text, surrounding white space removed; may be empty or absent from the document.
        score: Product of its tokens' probabilities, in [0, 1].
    """

    text: str
    score: float


def read_count(completion: Completion, template: PromptTemplate) -> Count:
    """The count a completion answers."""
    return Count(template.parse_count(completion.ids), probability(completion.log_probs))


def read_mention(completion: Completion, template: PromptTemplate) -> Mention:
    """The mention a completion answers."""
    return Mention(template.decode_mention(completion.ids), probability(completion.log_probs))


def probability(log_probs: Sequence[float]) -> float:
    """Product of token probabilities, kept in [0, 1] whatever an engine reports; not-a-number counts as 0."""
    total = sum(log_probs)
    if math.isnan(total):
        return 0.0
    return math.exp(min(total, 0.0))


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The model's mentions in one window; offsets are the document's.

    Attributes:
        window: The window.
        entities: Mentions aligned with the text.
        removed: Mentions that are not in the text, and unreadable counts.
        counts: Label to its count; a label whose count is unreadable is absent.
        capped: Labels whose count reached the model's limit.
        count_ms: Time until the last count was back.
        mention_ms: Time from then until the last mention was back.
        certainty: Label to the lowest probability among its answers, in [0, 1]; 0 where the text does not
            hold a mention, and absent where the count is unreadable.
    """

    window: Window
    entities: list[Entity]
    removed: list[Removed]
    counts: dict[str, int]
    capped: list[str]
    count_ms: float
    mention_ms: float
    certainty: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """The model's answer for one label: the count and the mentions."""

    count: Count
    mentions: list[Mention]


class WindowDecoder(Protocol):
    """Decodes windows with one model, in any prompt format."""

    async def decode(self, text: str, window: Window, labels: Sequence[LabelPrompt]) -> WindowResult:
        """Find the entities of all labels in a window of a text.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        ...


class ParallelDecoder:
    """Decodes windows with count prompts and mention prompts."""

    def __init__(self, generator: Generator, template: PromptTemplate) -> None:
        self._generator = generator
        self._template = template

    async def decode(self, text: str, window: Window, labels: Sequence[LabelPrompt]) -> WindowResult:
        """See ``WindowDecoder``; the mention prompts of a label leave as soon as its count is back."""
        began = time.perf_counter()
        prefix = self._template.prefix_ids(window.ids)
        counting, mentioning = SharedSpan("count"), SharedSpan("mention")
        try:
            answers = await all_of(self._ask(prefix, label, counting, mentioning) for label in labels)
        finally:
            counting.end()
            mentioning.end()
        ended = time.perf_counter()
        counted = max((counted_at for _, counted_at in answers), default=ended)
        result = WindowResult(window, [], [], {}, [], (counted - began) * 1000, (ended - counted) * 1000)
        aligner = SpanAligner(text[window.start : window.end])
        for label, (answer, _) in zip(labels, answers, strict=True):
            add_answer(result, aligner, label.name, answer)
            if answer.count.number == self._template.config.max_count:
                result.capped.append(label.name)
        return result

    async def _ask(
        self, prefix: tuple[int, ...], label: LabelPrompt, counting: SharedSpan, mentioning: SharedSpan
    ) -> tuple[LabelAnswer, float]:
        """A label's answer, and the time at which its count was known."""
        prompt = self._template.count_prompt(prefix, label.ids)
        stage = Stage.COUNT
        try:
            with counting.inside():
                counted = await self._generator.generate(prompt)
            count = read_count(counted, self._template)
            counted_at = time.perf_counter()
            stage = Stage.MENTION
            number = count.number or 0
            prompts = [self._template.mention_prompt(prompt, number, k) for k in range(1, number + 1)]
            completions: list[Completion] = []
            if prompts:
                with mentioning.inside():
                    completions = await all_of(map(self._generator.generate, prompts))
        except InferenceError as error:
            error.stage = stage
            raise
        return LabelAnswer(count, [read_mention(one, self._template) for one in completions]), counted_at


def add_answer(result: WindowResult, aligner: SpanAligner, label: str, answer: LabelAnswer) -> None:
    """Add the answer for one label to a window's result, each mention at its span in the text.

    Args:
        result: The result to extend.
        aligner: Over the text of the result's window.
        label: The label as the document named it.
        answer: The model's answer.
    """
    window, count = result.window, answer.count
    if count.number is None:
        result.removed.append(
            Removed(
                text="",
                label=label,
                score=count.score,
                reason=RemovalReason.UNREADABLE_COUNT,
                start=window.start,
                end=window.end,
            )
        )
        return
    result.counts[label] = count.number
    seen: set[tuple[int, int]] = set()
    spans = aligner.align([mention.text for mention in answer.mentions])
    certainty = count.score
    for mention, span in zip(answer.mentions, spans, strict=True):
        certainty = min(certainty, 0.0 if span is None else mention.score)
        if span is None:
            result.removed.append(
                Removed(text=mention.text, label=label, score=mention.score, reason=RemovalReason.UNGROUNDED)
            )
            continue
        start, end = window.start + span[0], window.start + span[1]
        text = aligner.text[span[0] : span[1]]
        if span in seen:
            result.removed.append(
                Removed(
                    text=text,
                    label=label,
                    score=mention.score,
                    reason=RemovalReason.DUPLICATE,
                    start=start,
                    end=end,
                )
            )
            continue
        seen.add(span)
        result.entities.append(
            Entity(text=text, label=label, start=start, end=end, score=mention.score, count_score=count.score)
        )
    result.certainty[label] = certainty

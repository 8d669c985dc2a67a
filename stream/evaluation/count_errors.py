"""What wrong counts cost: counts changed on purpose, and the mentions decoded again under them.

A label's count decides how many of its mentions are asked for, so a wrong one loses or invents mentions.
A prompt that was answered before is answered from memory, so that only mention prompts under changed counts
are decoded, and smaller shares of a change cost no further decoding.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stream.aio import all_of
from stream.contract.messages import Document, Policy
from stream.corpora.document import AnnotatedDocument
from stream.evaluation.runner import Answer, ModelAnswer, score
from stream.evaluation.scores import Score
from stream.generation import Completion, Generator, Prompt
from stream.ner.calibration import Calibration
from stream.ner.extractor import Extractor
from stream.ner.labels import LabelPrompts
from stream.ner.template import PromptTemplate
from stream.ner.windows import Window, windows

OWN = "own"
"""The model's own counts."""

UNDER = "under"
"""One less, where the model counted a mention."""

OVER = "over"
"""One more, where the model counted a mention."""

INVENTED = "invented"
"""One, where the model counted none."""

GOLD = "gold"
"""The annotated counts."""

_SHARES = (0.1, 0.25, 0.5, 1.0)
_IN_FLIGHT = 4
_HASHES = 2**32

_Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A way of changing counts.

    Attributes:
        kind: ``OWN``, ``UNDER``, ``OVER``, ``INVENTED`` or ``GOLD``.
        share: Of the counts that it applies to, those that are changed; always the same ones, and those of a
            smaller share are among those of a larger.
    """

    kind: str
    share: float = 1.0


CHANGES = (
    Change(OWN),
    *(Change(kind, share) for kind in (UNDER, OVER, INVENTED) for share in _SHARES),
    Change(GOLD),
)


@dataclass(slots=True)
class Cost:
    """What came of a change.

    Attributes:
        changed: Counts that are others than the model's own.
        score: Micro-F1's counts over sets of mention texts.
    """

    changed: int = 0
    score: Score = field(default_factory=Score)


class Recorder:
    """A generator that remembers what was answered; it always asks the one behind it."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.completions: dict[_Ids, Completion] = {}
        self.ready = generator.ready
        self.close = generator.close

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt, and remember it."""
        completion = await self._generator.generate(prompt)
        self.completions[prompt.ids] = completion
        return completion


@dataclass(frozen=True, slots=True)
class _Pair:
    """A window and a label.

    Attributes:
        prompt: Asks for the count.
        own: What the model answered.
        gold: What is annotated, to the most that the checkpoint can count.
    """

    prompt: Prompt
    own: int
    gold: int

    def count(self, change: Change, most: int) -> int:
        """The count under a change."""
        applies = zlib.crc32(repr(self.prompt.ids).encode()) < change.share * _HASHES
        if change.kind == GOLD:
            return self.gold
        if change.kind == UNDER and applies:
            return max(self.own - 1, 0)
        if change.kind == OVER and applies and self.own:
            return min(self.own + 1, most)
        if change.kind == INVENTED and applies and not self.own:
            return 1
        return self.own


class _Forced:
    """A generator that answers count prompts as it is told, and others from memory where it can."""

    def __init__(self, recorder: Recorder, template: PromptTemplate) -> None:
        self._recorder = recorder
        self._template = template
        self.counts: Mapping[_Ids, int] = {}
        self.ready = recorder.ready
        self.close = recorder.close

    async def generate(self, prompt: Prompt) -> Completion:
        count = self.counts.get(prompt.ids)
        if count is not None:
            ids = self._template.count_answer_ids(count)
            return Completion(ids, (0.0,) * len(ids))
        return self._recorder.completions.get(prompt.ids) or await self._recorder.generate(prompt)


class CountErrors:
    """Decodes documents again under changed counts.

    Args:
        recorder: Holds what the model answered when it was asked for these documents and labels.
        template: The checkpoint's prompts.
        labels: Labels asked for and scored, as the documents name them.
        policy: De-duplication.
        threshold: Lowest score of an entity.
        calibration: Makes probabilities of the scores.
    """

    def __init__(
        self,
        recorder: Recorder,
        template: PromptTemplate,
        labels: Sequence[str],
        *,
        policy: Policy = Policy.PAPER,
        threshold: float = 0.0,
        calibration: Calibration | None = None,
    ) -> None:
        self._recorder = recorder
        self._template = template
        self._labels = list(labels)
        self._policy = policy
        self._threshold = threshold
        self._calibration = calibration
        self._prompts = LabelPrompts(template)

    async def cost(self, documents: Iterator[AnnotatedDocument]) -> dict[Change, Cost]:
        """What every one of ``CHANGES`` costs.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        costs = {change: Cost() for change in CHANGES}

        async def serve() -> None:
            forced = _Forced(self._recorder, self._template)
            extractor = Extractor(forced, self._template)
            for document in documents:
                # All changes of a document in a row: the engine still has its text.
                await self._change(document, forced, extractor, costs)

        await all_of(serve() for _ in range(_IN_FLIGHT))
        return costs

    async def _change(
        self,
        document: AnnotatedDocument,
        forced: _Forced,
        extractor: Extractor,
        costs: Mapping[Change, Cost],
    ) -> None:
        asked = Document(text=document.text, labels=self._labels)
        pairs = list(self._pairs(document, asked))
        most = self._template.config.max_count
        for change, cost in costs.items():
            forced.counts = {pair.prompt.ids: pair.count(change, most) for pair in pairs}
            cost.changed += sum(forced.counts[pair.prompt.ids] != pair.own for pair in pairs)
            answer = ModelAnswer(document, await extractor.read(asked), self._threshold)
            settled = score([answer], self._labels, policy=self._policy, calibration=self._calibration)
            cost.score += settled.score
            await asyncio.sleep(0)

    def _pairs(self, document: AnnotatedDocument, asked: Document) -> Iterator[_Pair]:
        for window in windows(document.text, self._template):
            prefix = self._template.prefix_ids(window.ids)
            for label in self._prompts.of(asked):
                prompt = self._template.count_prompt(prefix, label.ids)
                own = self._template.parse_count(self._recorder.completions[prompt.ids].ids)
                if own is not None:
                    yield _Pair(prompt, own, self._gold(document, window, (label.name, *label.also)))

    def _gold(self, document: AnnotatedDocument, window: Window, names: Sequence[str]) -> int:
        places = {
            (entity.start, entity.end)
            for entity in document.entities
            if entity.label in names and window.start <= entity.start and entity.end <= window.end
        }
        return min(len(places), self._template.config.max_count)


def differences(answers: Sequence[Answer], labels: Sequence[str]) -> Counter[int]:
    """How far counts are from the annotation: counted less annotated, for every document and label."""
    found: Counter[int] = Counter()
    for answer in answers:
        gold = Counter(entity.label for entity in answer.document.entities)
        found.update(
            answer.counts[label] - gold[label]
            for label in labels
            if answer.counts is not None and label in answer.counts
        )
    return found

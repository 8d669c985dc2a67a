"""The cost of wrong counts: counts are perturbed, and the mentions decoded again under them.

A label's count decides how many of its mentions are asked for, so a wrong one loses or invents mentions.
Prompts answered before are answered from memory: only mention prompts under perturbed counts are decoded,
and a smaller share of a perturbation costs no further decoding.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

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

_SHARES = (0.1, 0.25, 0.5, 1.0)
_IN_FLIGHT = 4
_HASHES = 2**32

_Ids = tuple[int, ...]


class CountSource(StrEnum):
    """The counts that mentions are decoded under.

    ``UNDER`` and ``OVER`` are one less and one more where the model counted a mention; ``INVENTED`` is one
    where it counted none.
    """

    OWN = "own"
    UNDER = "under"
    OVER = "over"
    INVENTED = "invented"
    GOLD = "gold"


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way of changing counts.

    Attributes:
        counts: The counts that it makes.
        share: Share of the counts it applies to that are changed. A hash of the prompt draws them, so every
            run changes the same ones, and a smaller share is part of a larger.
    """

    counts: CountSource
    share: float = 1.0


PERTURBATIONS = (
    Perturbation(CountSource.OWN),
    *(
        Perturbation(counts, share)
        for counts in (CountSource.UNDER, CountSource.OVER, CountSource.INVENTED)
        for share in _SHARES
    ),
    Perturbation(CountSource.GOLD),
)


@dataclass(slots=True)
class PerturbedScore:
    """The score under a perturbation.

    Attributes:
        changed: Counts that differ from the model's own.
        score: Micro-F1's counts over sets of mention texts.
    """

    changed: int = 0
    score: Score = field(default_factory=Score)


class Recorder:
    """A generator that asks the one behind it and remembers every answer."""

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
        own: The model's count.
        gold: The annotated count, at most the highest that the checkpoint can answer.
    """

    prompt: Prompt
    own: int
    gold: int

    def count(self, perturbation: Perturbation, most: int) -> int:
        """The count under a perturbation."""
        applies = zlib.crc32(repr(self.prompt.ids).encode()) < perturbation.share * _HASHES
        match perturbation.counts:
            case CountSource.GOLD:
                return self.gold
            case CountSource.UNDER if applies:
                return max(self.own - 1, 0)
            case CountSource.OVER if applies and self.own:
                return min(self.own + 1, most)
            case CountSource.INVENTED if applies and not self.own:
                return 1
            case _:
                return self.own


class _ForcedCounts:
    """A generator that answers count prompts with given counts, and others from memory where it can."""

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
    """Decodes documents again under perturbed counts.

    Args:
        recorder: Holds the model's answers about these documents and labels.
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

    async def measure(self, documents: Iterator[AnnotatedDocument]) -> dict[Perturbation, PerturbedScore]:
        """Score every one of ``PERTURBATIONS``.

        Raises:
            stream.errors.InferenceError: The model did not answer.
        """
        scores = {perturbation: PerturbedScore() for perturbation in PERTURBATIONS}

        async def serve() -> None:
            forced = _ForcedCounts(self._recorder, self._template)
            extractor = Extractor(forced, self._template)
            for document in documents:
                # All perturbations of a document in a row: the engine still has its text.
                await self._perturb(document, forced, extractor, scores)

        await all_of(serve() for _ in range(_IN_FLIGHT))
        return scores

    async def _perturb(
        self,
        document: AnnotatedDocument,
        forced: _ForcedCounts,
        extractor: Extractor,
        scores: Mapping[Perturbation, PerturbedScore],
    ) -> None:
        asked = Document(text=document.text, labels=self._labels)
        pairs = list(self._pairs(document, asked))
        most = self._template.config.max_count
        for perturbation, perturbed in scores.items():
            forced.counts = {pair.prompt.ids: pair.count(perturbation, most) for pair in pairs}
            perturbed.changed += sum(forced.counts[pair.prompt.ids] != pair.own for pair in pairs)
            answer = ModelAnswer(document, await extractor.ask(asked), self._threshold)
            evaluation = score([answer], self._labels, policy=self._policy, calibration=self._calibration)
            perturbed.score += evaluation.score
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
    """Pairs of a document and a label by counted less annotated mentions."""
    found: Counter[int] = Counter()
    for answer in answers:
        gold = Counter(entity.label for entity in answer.document.entities)
        found.update(
            answer.counts[label] - gold[label]
            for label in labels
            if answer.counts is not None and label in answer.counts
        )
    return found

"""Annotated documents as prompts with their gold answers, for forced decoding.

Speed depends on the length of answers. Forcing every method to the gold answer gives each its right length
without a model trained for it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stream.baselines.answers import GoldMention
from stream.baselines.config import Baseline
from stream.baselines.prompts import BaselinePrompts
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.generation import Prompt
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate
from stream.ner.text_tokens import TextTokens
from stream.ner.windows import windows


@dataclass(frozen=True, slots=True)
class Forced:
    """A prompt and the ids that answer it, without the end id."""

    prompt: Prompt
    answer: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Number of tokens to choose, the end id included unless the limit comes first."""
        return min(len(self.answer) + 1, self.prompt.max_new_tokens)


@dataclass(frozen=True, slots=True)
class LabelCase:
    """PaDeLLM's prompts for one label: the count, then a prompt for every gold mention."""

    count: Forced
    mentions: tuple[Forced, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One document in every method's form.

    Attributes:
        text_tokens: Tokens of the text.
        labels: PaDeLLM (arXiv 2402.04838, section 3).
        struct: AutoReg_Struct of ``stream/baselines/``, as are the next two.
        aug: AutoReg_Aug.
        onestep: OneStep, for every label.
    """

    text_tokens: int
    labels: tuple[LabelCase, ...]
    struct: Forced
    aug: Forced
    onestep: tuple[Forced, ...]


class CaseMaker:
    """Makes cases for one checkpoint.

    Args:
        template: The checkpoint's prompts and tokenizer.
        labels: Asked for in every document; entities under other labels are left out.
    """

    def __init__(self, template: PromptTemplate, labels: Sequence[str]) -> None:
        self._template = template
        self._labels = {label: template.label_text(label) for label in labels}
        self._baselines = {each: BaselinePrompts(template, each, forced=True) for each in Baseline}

    def cases(self, documents: Iterable[AnnotatedDocument]) -> list[Case]:
        """A case for the first window of each document; a document without words has none.

        Without labels there are no prompts, and no cases.
        """
        cut = (self._first_window(document) for document in documents if self._labels)
        return [self._case(*window) for window in cut if window is not None]

    def _first_window(self, document: AnnotatedDocument) -> tuple[str, list[GoldEntity]] | None:
        window = next(windows(document.text, self._template), None)
        if window is None:
            return None
        inside = [
            entity.model_copy(update={"start": entity.start - window.start, "end": entity.end - window.start})
            for entity in document.entities
            if entity.label in self._labels and window.start <= entity.start and entity.end <= window.end
        ]
        inside.sort(key=lambda entity: (entity.start, -entity.end))
        return document.text[window.start : window.end], inside

    def _case(self, text: str, entities: list[GoldEntity]) -> Case:
        spelled = TextTokens.of(text, self._template)
        prefix = self._template.prefix_ids(spelled.encoded.ids)
        mentions = [GoldMention(entity.label, entity.start, entity.end) for entity in entities]
        answers = {
            each: tuple(self._baseline(prompts, prefix, spelled, mentions))
            for each, prompts in self._baselines.items()
        }
        return Case(
            text_tokens=len(spelled.encoded.ids),
            labels=tuple(
                self._label_case(
                    prefix, words, [spelled.ids(one.start, one.end) for one in mentions if one.label == label]
                )
                for label, words in self._labels.items()
            ),
            struct=answers[Baseline.AUTOREG_STRUCT][0],
            aug=answers[Baseline.AUTOREG_AUG][0],
            onestep=answers[Baseline.ONESTEP],
        )

    def _baseline(
        self,
        prompts: BaselinePrompts,
        prefix: tuple[int, ...],
        text: TextTokens,
        mentions: list[GoldMention],
    ) -> Iterator[Forced]:
        labels = {label: LabelWords(words, words) for label, words in self._labels.items()}
        for prompt in prompts.prompts(prefix, labels):
            answer = prompts.answer(prompt, text, mentions)
            yield Forced(Prompt(prompt.ids, len(answer) + 1, self._template.end_id), answer)

    def _label_case(self, prefix: tuple[int, ...], words: str, mentions: list[tuple[int, ...]]) -> LabelCase:
        prompt = self._template.count_prompt(prefix, self._template.encode_text(words).ids)
        # The checkpoint cannot be asked for more mentions than it can count.
        count = min(len(mentions), self._template.config.max_count)
        return LabelCase(
            Forced(prompt, self._template.count_answer_ids(count)),
            tuple(
                _mention(self._template.mention_prompt(prompt, count, k), ids)
                for k, ids in enumerate(mentions[:count], start=1)
            ),
        )


def _mention(prompt: Prompt, ids: tuple[int, ...]) -> Forced:
    return Forced(prompt, ids[: prompt.max_new_tokens])

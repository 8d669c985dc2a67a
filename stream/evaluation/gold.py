"""Annotated documents as prompts with the answers they should get, for decoding with forced answers.

Speed depends on how long answers are. Forcing every method to the gold answer gives each its right length
without a model trained for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.generation import Prompt
from stream.ner.template import PromptTemplate
from stream.ner.windows import windows

# An autoregressive model answers for all labels at once; its prompt only says that entities are wanted.
_INSTRUCTION = "\nentities:\n"


@dataclass(frozen=True, slots=True)
class Forced:
    """A prompt and the ids that answer it, without the end id."""

    prompt: Prompt
    answer: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Tokens to choose until the answer is complete, the end id included where there is one."""
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
        struct: AutoReg_Struct: ``((LOC : Japan) , (ORG : FIFA))``.
        aug: AutoReg_Aug: the text again, entities marked in place: ``[Japan | LOC]``.
        onestep: OneStep: for every label all its mentions in one sequence.
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
        labels: Asked for in every document; entities under others are left out.
    """

    def __init__(self, template: PromptTemplate, labels: Sequence[str]) -> None:
        self._template = template
        self._labels = tuple(labels)

    def cases(self, documents: Iterable[AnnotatedDocument]) -> list[Case]:
        """A case for the first window of each document that has one; most documents are one window."""
        cut = (self._first_window(document) for document in documents)
        return [self._case(*window) for window in cut if window is not None]

    def _first_window(
        self, document: AnnotatedDocument
    ) -> tuple[str, tuple[int, ...], list[GoldEntity]] | None:
        window = next(windows(document.text, self._template), None)
        if window is None:
            return None
        inside = [
            entity.model_copy(update={"start": entity.start - window.start, "end": entity.end - window.start})
            for entity in document.entities
            if entity.label in self._labels and window.start <= entity.start and entity.end <= window.end
        ]
        inside.sort(key=lambda entity: (entity.start, -entity.end))
        return document.text[window.start : window.end], window.ids, inside

    def _case(self, text: str, ids: tuple[int, ...], entities: list[GoldEntity]) -> Case:
        prefix = self._template.prefix_ids(ids)
        by_label = {
            label: [entity.text for entity in entities if entity.label == label] for label in self._labels
        }
        instructed = (*prefix, *self._encode(_INSTRUCTION))
        return Case(
            text_tokens=len(ids),
            labels=tuple(self._label_case(prefix, label, texts) for label, texts in by_label.items()),
            struct=self._forced(instructed, structured(entities)),
            aug=self._forced(instructed, augmented(text, entities)),
            onestep=tuple(
                self._forced(self._count_prompt(prefix, label).ids, " , ".join(texts))
                for label, texts in by_label.items()
            ),
        )

    def _label_case(self, prefix: tuple[int, ...], label: str, texts: list[str]) -> LabelCase:
        prompt = self._count_prompt(prefix, label)
        # More than the checkpoint can count, it cannot be asked for.
        count = min(len(texts), self._template.config.max_count)
        return LabelCase(
            Forced(prompt, self._template.count_answer_ids(count)),
            tuple(
                self._mention(self._template.mention_prompt(prompt, count, k), text)
                for k, text in enumerate(texts[:count], start=1)
            ),
        )

    def _mention(self, prompt: Prompt, text: str) -> Forced:
        return Forced(prompt, self._encode(text)[: prompt.max_new_tokens])

    def _count_prompt(self, prefix: tuple[int, ...], label: str) -> Prompt:
        return self._template.count_prompt(prefix, self._encode(self._template.label_text(label)))

    def _forced(self, prompt: tuple[int, ...], answer: str) -> Forced:
        ids = self._encode(answer)
        return Forced(Prompt(prompt, len(ids) + 1, self._template.end_id), ids)

    def _encode(self, text: str) -> tuple[int, ...]:
        return self._template.encode_text(text).ids


def structured(entities: Iterable[GoldEntity]) -> str:
    """AutoReg_Struct's answer, ``((LOC : Japan) , (ORG : FIFA))``."""
    return f"({' , '.join(f'({entity.label} : {entity.text})' for entity in entities)})"


def augmented(text: str, entities: Iterable[GoldEntity]) -> str:
    """AutoReg_Aug's answer, the text with its entities marked, nested ones too."""
    opened = [(entity.start, 1, -entity.end, "[") for entity in entities]
    closed = [(entity.end, 0, -entity.start, f" | {entity.label}]") for entity in entities]
    pieces, at = [], 0
    for position, _, _, mark in sorted(opened + closed):
        pieces += [text[at:position], mark]
        at = position
    return "".join((*pieces, text[at:]))

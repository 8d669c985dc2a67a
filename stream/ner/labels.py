"""The labels a document asks for, as the prompts name them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from stream.contract.messages import Document
from stream.ner.template import PromptTemplate


@dataclass(frozen=True, slots=True)
class LabelWords:
    """The words of a prompt for an entity type.

    Attributes:
        name: Its phrase, or another name for it.
        asked: The words in the prompt: the name, or the name with its definition.
    """

    name: str
    asked: str


@dataclass(frozen=True, slots=True)
class LabelPrompt:
    """One entity type to decode.

    Attributes:
        name: The label as the document named it.
        also: Other names in the document for the same type (``PER`` beside ``person``); the type is decoded
            once and reported under each name.
        phrase: The checkpoint's name for it, without a definition.
        ids: Token ids of the prompt's label piece.
    """

    name: str
    also: tuple[str, ...]
    phrase: str
    ids: tuple[int, ...]


class LabelPrompts:
    """Resolves requested labels for one checkpoint; token ids of recent labels are cached."""

    def __init__(self, template: PromptTemplate) -> None:
        self._template = template
        self._ids = lru_cache(maxsize=4096)(lambda piece: template.encode_text(piece).ids)

    def names(self, document: Document) -> list[str]:
        """The labels as the document named them, or the checkpoint's default labels; each once."""
        labels = self._template.config.default_labels if document.labels is None else document.labels
        return list(dict.fromkeys(labels))

    def of(self, document: Document) -> tuple[LabelPrompt, ...]:
        """One prompt for each entity type the document asks for."""
        return self._default if document.labels is None else self._resolved(document)

    @cached_property
    def _default(self) -> tuple[LabelPrompt, ...]:
        return self._resolved(Document(text="any"))

    def _resolved(self, document: Document) -> tuple[LabelPrompt, ...]:
        definitions = document.labels if isinstance(document.labels, dict) else {}
        names: dict[str, list[str]] = {}
        for name in self.names(document):
            piece = self._template.label_text(name, definitions.get(name))
            names.setdefault(piece, []).append(name)
        phrase = self._template.config.phrase
        return tuple(
            LabelPrompt(first, tuple(also), phrase(first), self._ids(piece))
            for piece, (first, *also) in names.items()
        )

"""A component of spaCy's pipelines: ``nlp.add_pipe("padellm")`` (``pip install 'padellm-stream[spacy]'``).

spaCy finds it by its entry point. The model counts code points, as spaCy does; spaCy's entities are whole
tokens, so each is aligned with them. The entities as the model found them are in ``doc.user_data``.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import filter_spans, minibatch

from stream.api import Entity, NerModel, Policy, open_model

FACTORY = "padellm"
_IN_FLIGHT = 64


class PadellmComponent:
    """Finds the entities of documents.

    Each document gets ``doc.ents``, without overlap; ``doc.spans["padellm"]``, all of them, with their scores
    in ``attrs["scores"]``; and ``doc.user_data["padellm"]``, a dictionary an entity, with its own offsets.

    Args:
        model: The model; it is closed with the component.
        labels: Entity types; None are the model's.
        threshold: Lowest score; None is that of the settings.
        policy: De-duplication; None is that of the settings, or else the model's.
        alignment: Tokens of an entity that begins or ends inside one: ``expand`` takes the token,
            ``contract`` leaves it out, ``strict`` leaves the entity out.
    """

    def __init__(
        self,
        model: NerModel,
        *,
        labels: list[str] | dict[str, str] | None,
        threshold: float | None,
        policy: Policy | None,
        alignment: str,
    ) -> None:
        self._model = model
        self._asked: dict[str, Any] = {"labels": labels, "threshold": threshold, "policy": policy}
        self._alignment = alignment

    def __call__(self, doc: Doc) -> Doc:
        """Find the entities of one document."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = _IN_FLIGHT) -> Iterator[Doc]:
        """Find the entities of many documents, a batch at once; they come in their order."""
        for docs in minibatch(stream, batch_size):
            texts = [doc.text for doc in docs if doc.text.strip()]
            found = self._model.extract_many(texts, in_flight=batch_size, **self._asked)
            for doc in docs:
                yield self._marked(doc, next(found).entities if doc.text.strip() else [])

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _marked(self, doc: Doc, entities: list[Entity]) -> Doc:
        aligned = [
            (doc.char_span(each.start, each.end, label=each.label, alignment_mode=self._alignment), each)
            for each in entities
        ]
        spans = [(span, entity.score) for span, entity in aligned if span is not None]
        doc.ents = filter_spans([span for span, _ in spans])
        doc.spans[FACTORY] = [span for span, _ in spans]
        doc.spans[FACTORY].attrs["scores"] = np.array([score for _, score in spans], dtype="float32")
        doc.user_data[FACTORY] = [entity.model_dump(mode="json") for entity in entities]
        return doc


def make_component(  # noqa: PLR0917 - spaCy passes all by name
    nlp: Language,  # noqa: ARG001 - spaCy's convention
    name: str,  # noqa: ARG001 - likewise
    model: str | None,
    labels: list[str] | dict[str, str] | None,
    threshold: float | None,
    policy: str | None,
    alignment: str,
) -> PadellmComponent:
    """Open the model of a component's configuration.

    Raises:
        ValueError: The policy or the alignment is none.
        stream.errors.CheckpointError: The folder holds no model that can be served.
    """
    if alignment not in {"expand", "contract", "strict"}:
        raise ValueError(f"alignment={alignment!r} is none of expand, contract and strict")
    return PadellmComponent(
        open_model(model),
        labels=labels,
        threshold=threshold,
        policy=None if policy is None else Policy(policy),
        alignment=alignment,
    )


Language.factory(
    FACTORY,
    assigns=["doc.ents", "doc.spans"],
    default_config={"model": None, "labels": None, "threshold": None, "policy": None, "alignment": "expand"},
    func=make_component,
)

"""What a system answered for annotated documents, before de-duplication."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from stream.corpora.document import AnnotatedDocument
from stream.messages import Entity, Policy, Removed
from stream.ner.calibration import Calibration
from stream.ner.extraction import Found, settle


@dataclass(frozen=True, slots=True)
class Settled:
    """Attributes: ``entities``, those kept; ``removed``, all others, with reasons."""

    entities: list[Entity]
    removed: list[Removed]


class Answer(Protocol):
    """One document's answer, which can be settled under any policy.

    Attributes:
        document: What was asked about.
        counts: Mentions that were counted, by label, where the system counts; a label is absent where its
            count could not be read.
    """

    @property
    def document(self) -> AnnotatedDocument: ...  # noqa: D102 - an attribute

    @property
    def counts(self) -> Mapping[str, int] | None: ...  # noqa: D102 - an attribute

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:
        """De-duplicate.

        Args:
            policy: What is kept when entities compete.
            calibration: Makes probabilities of the scores first.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model's answer, by parallel decoding.

    Attributes:
        document: What was asked about.
        found: What the model said.
        threshold: Lowest score of an entity.
    """

    document: AnnotatedDocument
    found: Found
    threshold: float

    @property
    def counts(self) -> Mapping[str, int]:
        """Mentions that the model counted, by label."""
        return self.found.counts()

    def settle(self, policy: Policy, calibration: Calibration | None = None) -> Settled:
        """De-duplicate, as the service does."""
        extraction = settle(self.found, policy=policy, threshold=self.threshold, calibration=calibration)
        return Settled(extraction.entities, extraction.removed)

"""The configuration of a checkpoint: ``ner_config.json`` beside its weights."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream.contract.messages import Policy
from stream.errors import CheckpointError
from stream.ner.calibration import Calibration

FILE_NAME = "ner_config.json"
BASELINE_FILE_NAME = "baseline.json"
"""Replaces ``ner_config.json`` beside a model that answers in another format (``stream/baselines/``)."""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemplateConfig(_Config):
    """The pieces of a prompt (PaDeLLM-NER, section 3.1), joined as token ids, never as text.

    Count prompt: ``text`` + document + ``label`` + entity type + ``count``; answer ``count_answer``.
    Mention prompt: count prompt + ``count_answer`` + ``mention``; answer: the mention, then the end token.
    """

    text: str = "text:\n"
    label: str = "\nentity type:\n"
    count: str = "\n\n<num>"
    count_answer: str = "{n}\n"
    mention: str = "<mention {k}>"
    definition: str = "{label}: {definition}"

    @model_validator(mode="after")
    def _placeholders_are_known(self) -> Self:
        pieces: dict[str, tuple[str, dict[str, object]]] = {
            "count_answer": (self.count_answer, {"n": 1}),
            "mention": (self.mention, {"k": 1}),
            "definition": (self.definition, {"label": "", "definition": ""}),
        }
        for name, (piece, values) in pieces.items():
            try:
                piece.format(**values)
            except (KeyError, IndexError, ValueError) as error:
                known = " and ".join(f"{{{value}}}" for value in values)
                raise ValueError(f"{name} {piece!r} may hold {known} and nothing else in braces") from error
        return self


class WindowConfig(_Config):
    """Length and overlap of this model's windows, in tokens of its tokenizer."""

    tokens: int = Field(default=160, ge=8)
    overlap: int = Field(default=32, ge=0)

    @model_validator(mode="after")
    def _overlap_leaves_progress(self) -> Self:
        if 2 * self.overlap > self.tokens:
            raise ValueError(f"overlap ({self.overlap}) must be at most half of tokens ({self.tokens})")
        return self


class LabelConfig(_Config):
    """One label the model was trained on; its key is the phrase used in the prompt."""

    aliases: tuple[str, ...] = ()
    description: str = ""


class NerConfig(_Config):
    """Everything about a checkpoint that the method needs and the weights do not hold.

    Attributes:
        labels: Known label phrase to its aliases; a request may also name labels that are not here.
        default_labels: Labels looked for when a document names none.
        max_count: Highest count the model was trained to answer.
        max_mention_tokens: Limit of tokens in one mention.
        policy: De-duplication where neither document nor settings name one: ``flat`` for a model trained on
            flat entity sets.
        calibration: Platt scaling of the scores; without it a score is the product of the mention's token
            probabilities.
    """

    format_version: int = Field(default=1, ge=1, le=1)
    name: str
    version: str
    template: TemplateConfig = TemplateConfig()
    window: WindowConfig = WindowConfig()
    max_count: int = Field(default=12, ge=1)
    max_mention_tokens: int = Field(default=48, ge=1)
    labels: dict[str, LabelConfig]
    default_labels: tuple[str, ...] = Field(min_length=1)
    policy: Policy = Policy.PAPER
    calibration: Calibration | None = None

    @classmethod
    def load(cls, folder: Path) -> "NerConfig":
        """Read ``ner_config.json`` of a model folder.

        Raises:
            CheckpointError: The file is missing or malformed.
        """
        path = folder / FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            if (folder / BASELINE_FILE_NAME).is_file():
                raise CheckpointError(
                    f"{folder} holds a baseline ({BASELINE_FILE_NAME}), which answers in a format of its own "
                    f"and cannot be served: `padellm evaluate --model {folder}` scores it"
                ) from error
            raise CheckpointError(
                f"{path} cannot be read ({error.strerror}): "
                f"a model folder needs {FILE_NAME} beside its weights"
            ) from error
        except ValidationError as error:
            raise CheckpointError(f"{path} is malformed: {error}") from error

    @cached_property
    def template_hash(self) -> str:
        """First 16 hex digits of the SHA-256 over the template."""
        canonical = json.dumps(self.template.model_dump(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def phrase(self, label: str) -> str:
        """The prompt's phrase for a label, which is named by phrase or alias, compared without case.

        A label that the checkpoint does not know stands for itself.
        """
        return self._phrases.get(label.casefold(), label)

    @cached_property
    def _phrases(self) -> dict[str, str]:
        aliases = {
            alias.casefold(): phrase for phrase, known in self.labels.items() for alias in known.aliases
        }
        return aliases | {phrase.casefold(): phrase for phrase in self.labels}


def store_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write a calibration into the ``ner_config.json`` of a model folder; all other keys stay.

    Returns:
        The file.

    Raises:
        CheckpointError: The file cannot be read or written.
    """
    path = folder / FILE_NAME
    fresh = path.with_suffix(".part")
    try:
        content = json.loads(path.read_bytes()) | {"calibration": calibration.model_dump()}
        fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.chmod(path.stat().st_mode)
        fresh.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror}): copy the model folder to where you may write"
        ) from error
    return path

"""A training recipe: everything that decides what a run produces, read from one TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream.errors import ConfigurationError
from stream.ner.baselines.config import Baseline, BaselineConfig
from stream.ner.config import NerConfig


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusConfig(_Part):
    """One annotated corpus and the words that stand for its labels in a prompt.

    Attributes:
        labels: The corpus's label to its phrases. A label with several phrases is asked for under each;
            the last one names it for the auxiliary tagging loss. Labels not listed are never asked for.
        weight: Share among the corpora that are not the main one.
        split: The file to train on.
        leave_out: One of so many sentences, from the first on, is kept out of training, and scored instead of
            the development set; for a corpus that comes in one piece.
        limit: Only so many sentences, drawn at random by the recipe's seed.
        spaced_hyphens: The corpus writes ``L - dopa`` for ``L-dopa``; raw text joins them.
        terms: Licence of the corpus, for the model card.
    """

    name: str
    labels: dict[str, tuple[str, ...]]
    weight: float = Field(default=1.0, gt=0)
    split: Literal["train", "dev"] = "train"
    leave_out: int | None = Field(default=None, ge=2)
    limit: int | None = Field(default=None, ge=1)
    spaced_hyphens: bool = False
    terms: str = "none stated"


class TokenizerConfig(_Part):
    """What the byte-level BPE is trained on.

    Attributes:
        main_copies: How often the main corpus's sentences are counted.
        plain_share: Share of the paragraphs of the plain texts that is counted.
    """

    vocabulary: int = Field(default=6000, ge=400)
    main_copies: int = Field(default=3, ge=1)
    plain_share: float = Field(default=0.33, ge=0, le=1)


class ModelConfig(_Part):
    """Shape of the ``LlamaForCausalLM``."""

    hidden: int = 192
    layers: int = Field(default=4, ge=2)
    heads: int = 6
    feed_forward: int = 512
    max_positions: int = 2048
    dropout: float = Field(default=0.1, ge=0, lt=1)


class LossConfig(_Part):
    """Weights of the losses beside the answers' own, whose weight is 1."""

    language_model: float = 0.3
    tagging: float = 0.5
    tagging_layer: int = 2
    ordinal: float = 0.2
    ordinal_layer: int = 3


class AugmentationConfig(_Part):
    """How often a drawn example is changed before it is packed, and which labels its text is asked for.

    Attributes:
        max_labels: Most labels that a text is asked for.
        max_absent: Most of these that the text has no mention of; default: what ``max_labels`` leaves.
        absent_share: Share of the labels without a mention that may be asked for, drawn anew for each text.
            Below 1, a text without mentions may be asked for nothing.
        label_order: Shuffled, or that of the corpus's labels in the recipe. A format that asks for each label
            by itself does not see it.
        described_labels: Share of the labels that are asked for with their description.
        aliased_labels: Share of the labels that are asked for by one of their aliases.
    """

    raw: float = 0.35
    joined: float = 0.15
    swapped_documents: float = 0.6
    swapped_mentions: float = 0.5
    foreign_names: float = 0.5
    upper_case: float = 0.03
    max_text_tokens: int = 160
    max_labels: int = Field(default=5, ge=1)
    max_absent: int | None = Field(default=None, ge=0)
    absent_share: float = Field(default=1.0, ge=0, le=1)
    label_order: Literal["shuffled", "inventory"] = "shuffled"
    described_labels: float = Field(default=0.0, ge=0, le=1)
    aliased_labels: float = Field(default=0.0, ge=0, le=1)


class StageConfig(_Part):
    """One part of the curriculum; it lasts until ``until``, a share of all steps.

    Attributes:
        main: Share of the main corpus among the documents.
        plain: Share of plain paragraphs, which carry the language-model loss alone.
        language_model_share: Share of the text's tokens whose language-model loss is computed.
        augmentation: Factor on the shares of raw, joined and swapped documents.
    """

    until: float = Field(gt=0, le=1)
    main: float = Field(ge=0, le=1)
    plain: float = Field(default=0.0, ge=0, le=1)
    language_model_share: float = Field(default=0.5, ge=0, le=1)
    augmentation: float = Field(default=1.0, ge=0, le=1)


class CycleConfig(_Part):
    """Steps over which the learning rate falls linearly to 0."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class OptimiserConfig(_Part):
    """AdamW with linear warm-up, then one or more cycles of linear decay.

    Attributes:
        bfloat16_products: Round the factors of matrix products to bfloat16 (sums stay float32): always on a
            GPU, and twice as fast on processors with AVX512-BF16. Weights and optimiser stay float32.
        batch_tokens: Tokens of a step's batch, packed.
        row_tokens: Width of a packed row; a longer tree has a wider one.
        average: Decay per step of the running average of the weights, which is scored and exported; 0 for the
            weights themselves.
    """

    cycles: tuple[CycleConfig, ...] = Field(min_length=1)
    bfloat16_products: bool = False
    batch_tokens: int = 512
    row_tokens: int = 144
    warm_up_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = Field(default=0.0, ge=0, lt=1)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(cycle.steps for cycle in self.cycles)

    def learning_rate(self, step: int) -> float:
        """The rate at a step."""
        warm = min(1.0, (step + 1) / self.warm_up_steps)
        for cycle in self.cycles:
            if step < cycle.steps:
                return cycle.learning_rate * warm * (1 - step / cycle.steps)
            step -= cycle.steps
        return 0.0


class PretrainingConfig(_Part):
    """Language modelling on plain text before anything else.

    Attributes:
        files: Files under ``text/``, each read so many times an epoch.
        treebank_share: Share of the paragraphs that are written with punctuation set apart, as treebanks do.
        tokens: Tokens of the whole stage; texts are repeated as often as that takes.
        learning_rate: Of Muon for matrices and AdamW for the rest; it rises over ``warm_up_steps``, stays,
            and falls linearly to 5% over the last ``decay`` of the stage.
    """

    files: dict[str, int] = Field(min_length=1)
    treebank_share: float = Field(default=0.5, ge=0, le=1)
    tokens: int = Field(ge=1)
    row_tokens: int = Field(default=512, ge=8)
    batch_tokens: int = Field(default=65536, ge=8)
    learning_rate: float = Field(default=2e-3, gt=0)
    warm_up_steps: int = Field(default=100, ge=1)
    decay: float = Field(default=0.5, gt=0, le=1)
    weight_decay: float = 0.1


class Recipe(_Part):
    """A whole run. ``main`` is the corpus whose development set is the goal.

    Attributes:
        data: Folder with ``ner/<name>/{train,dev}.jsonl.gz`` and ``text/*.txt.gz``.
        output: Folder for the run's state, metrics and exported checkpoint.
        device: ``cpu``, ``cuda`` or ``auto``: a GPU where there is one.
        workers: Processes that draw and pack batches ahead; 0 draws them between steps.
        format: What the model is taught to answer: PaDeLLM's counts and mentions, or a baseline's form.
        initial: Folder of a checkpoint of ours to start from, its tokenizer kept; ``model`` and
            ``pretraining`` are then not used.
        without_corpora: Names of corpora to leave out.
        without_phrases: Phrases that no corpus is asked for.
        plain: Files under ``text/`` for language modelling among the annotated texts.
        excluded_dev: Corpora whose development sentences are kept out of training; default: all in ``data``.
    """

    seed: int = 1
    threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(default=0, ge=0)
    data: Path
    output: Path
    format: Literal["padellm"] | Baseline = "padellm"
    initial: Path | None = None
    without_corpora: tuple[str, ...] = ()
    without_phrases: tuple[str, ...] = ()
    main: str
    plain: tuple[str, ...] = ()
    excluded_dev: tuple[str, ...] = ()
    dev_sample: int = 400
    export_minutes: float = 8.0
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    pretraining: PretrainingConfig | None = None
    optimiser: OptimiserConfig
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    ner: NerConfig
    corpora: tuple[CorpusConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.main not in {corpus.name for corpus in self.corpora}:
            raise ValueError(f"main corpus {self.main!r} is not among the corpora")
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"stages must end at rising shares, the last at 1.0; they end at {ends}")
        deepest = max(self.losses.tagging_layer, self.losses.ordinal_layer)
        if deepest > self.model.layers:
            raise ValueError(f"an auxiliary loss reads layer {deepest}, the model has {self.model.layers}")
        return self

    @property
    def baseline(self) -> Baseline | None:
        """The format, where it is not PaDeLLM's."""
        return self.format if isinstance(self.format, Baseline) else None

    @property
    def exported(self) -> NerConfig | BaselineConfig:
        """What travels with the checkpoint."""
        return BaselineConfig(format=self.baseline, ner=self.ner) if self.baseline else self.ner

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every phrase of the run; its place is its number in tags."""
        return tuple(dict.fromkeys(p for c in self.used_corpora for ps in c.labels.values() for p in ps))

    @property
    def used_corpora(self) -> tuple[CorpusConfig, ...]:
        """The corpora that are not left out, the main one first, with the labels that are asked for."""
        kept = (corpus for corpus in self.corpora if corpus.name not in self.without_corpora)
        return tuple(
            corpus.model_copy(update={"labels": self._asked(corpus)})
            for corpus in sorted(kept, key=lambda corpus: corpus.name != self.main)
        )

    def _asked(self, corpus: CorpusConfig) -> dict[str, tuple[str, ...]]:
        asked = {
            label: tuple(phrase for phrase in phrases if phrase not in self.without_phrases)
            for label, phrases in corpus.labels.items()
        }
        return {label: phrases for label, phrases in asked.items() if phrases}

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        data: Path | None = None,
        output: Path | None = None,
        format: str | None = None,  # noqa: A002 - the recipe's own name for it
        changes: Sequence[str] = (),
    ) -> "Recipe":
        """Read a recipe; what is given replaces what it says.

        A run in a format that the recipe does not name has a folder of its own, unless ``output`` says which:
        the recipe's with the format behind it.

        Args:
            path: The TOML file.
            data: Folder of the corpora.
            output: Folder of the run.
            format: What the model is taught to answer.
            changes: Values in place of the file's, as ``optimiser.average=0.9`` or ``seed=2``; the right side
                is TOML, and a number on the left chooses from an array.

        Raises:
            ConfigurationError: The file cannot be read or does not describe a run.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            for change in changes:
                _change(values, change)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}") from error
        if format not in {None, values.get("format", "padellm")} and "output" in values:
            output = output or Path(f"{values['output']}-{format}")
        given = {"data": data, "output": output, "format": format}
        try:
            return cls.model_validate(values | {name: value for name, value in given.items() if value})
        except ValidationError as error:
            raise ConfigurationError(f"{path} is not a training recipe: {error}") from error


def _change(values: dict[str, Any], change: str) -> None:
    """Put one value in its place.

    Raises:
        ConfigurationError: There is no such place, or the value is not TOML.
    """
    name, _, value = change.partition("=")
    *path, last = (int(part) if part.isdecimal() else part for part in name.strip().split("."))
    place: Any = values  # a table or an array
    try:
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        place[last] = tomllib.loads(f"value = {value}")["value"]
    except (KeyError, IndexError, TypeError, AttributeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{change!r} changes nothing in a recipe: {error}") from error

"""A training recipe: everything that decides what a run produces, read from one TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from stream.baselines.config import Baseline, BaselineConfig
from stream.errors import ConfigurationError
from stream.ner.config import NerConfig
from stream.training.sections import (
    AdapterConfig,
    AugmentationConfig,
    CorpusConfig,
    LossConfig,
    ModelConfig,
    PretrainingConfig,
    Section,
    StageConfig,
    TokenizerConfig,
    TrainingConfig,
)


class Recipe(Section):
    """A whole run.

    Attributes:
        seed: Of every random choice.
        threads: CPU threads of a process.
        data: Folder with ``ner/<name>/{train,dev}.jsonl.gz`` and ``text/*.txt.gz``.
        output: Folder for the run's state, metrics and exported checkpoint.
        device: ``cpu``, ``cuda`` or ``auto``: a GPU where there is one.
        sharded: Where `accelerate launch` starts several processes, give each a part of every weight (FSDP)
            instead of a copy of all.
        workers: Processes that draw and pack batches ahead; 0 draws them between steps.
        format: Form of the model's answers: PaDeLLM's counts and mentions, or a baseline's.
        init_from: Folder of a checkpoint to start from, of ours or any causal one of transformers, its
            tokenizer kept; ``pretraining`` and all of ``model`` but its dropout are then not used.
        export_weights: Type of the exported weights; default: the 16-bit type of the checkpoint started from,
            or float16.
        lora: Train adapters on the checkpoint started from in place of its weights.
        main: Name of the corpus whose development set is the goal.
        without_corpora: Names of corpora to leave out.
        without_phrases: Phrases that no corpus is asked for.
        plain: Files under ``text/`` for language modelling among the annotated texts.
        dev_sample: About how many sentences of the development set score an export.
        export_minutes: Minutes of training between exports.
        export_steps: Steps between exports, in place of minutes.
        patience: Stop after so many exports without a better F1 than the best before, and keep that one's
            checkpoint. Exports must then be counted in steps, so that a run's result does not depend on its
            speed.
        excluded_dev: Corpora whose development sentences are kept out of training; default: all in ``data``.
    """

    seed: int = Field(default=1, ge=0, lt=2**32)
    threads: int = Field(default=1, ge=1, le=1024)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sharded: bool = False
    workers: int = Field(default=0, ge=0, le=1024)
    data: Path
    output: Path
    format: Literal["padellm"] | Baseline = "padellm"
    init_from: Path | None = None
    export_weights: Literal["float16", "bfloat16", "float32"] | None = None
    without_corpora: tuple[str, ...] = ()
    without_phrases: tuple[str, ...] = ()
    main: str
    plain: tuple[str, ...] = ()
    excluded_dev: tuple[str, ...] = ()
    dev_sample: int = Field(default=400, ge=1)
    export_minutes: float = Field(default=8.0, gt=0)
    export_steps: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    pretraining: PretrainingConfig | None = None
    lora: AdapterConfig | None = None
    training: TrainingConfig
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    ner: NerConfig
    corpora: tuple[CorpusConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.main not in {corpus.name for corpus in self.corpora}:
            raise ValueError(f"main corpus {self.main!r} is not among the corpora")
        if self.main in self.without_corpora:
            raise ValueError(f"main corpus {self.main!r} is among without_corpora")
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"stages must end at rising shares, the last at 1.0; they end at {ends}")
        deepest = self.losses.deepest_layer
        if self.init_from is None and deepest > self.model.layers:
            raise ValueError(f"an auxiliary loss reads layer {deepest}, the model has {self.model.layers}")
        if self.patience and not self.export_steps:
            raise ValueError("patience counts exports, so `export_steps` must be set")
        if self.sharded and self.training.optimizer == "muon":
            raise ValueError('muon steps whole matrices: not with `sharded`; optimizer = "adamw" steps parts')
        if self.lora and self.init_from is None:
            raise ValueError("[lora] adapts a checkpoint: `init_from` must name one")
        return self

    @property
    def baseline(self) -> Baseline | None:
        """The format, where it is not PaDeLLM's."""
        return self.format if isinstance(self.format, Baseline) else None

    @property
    def exported(self) -> NerConfig | BaselineConfig:
        """The configuration that is exported with the checkpoint."""
        return BaselineConfig(format=self.baseline, ner=self.ner) if self.baseline else self.ner

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every phrase of the run; its place is its number in BIO tags."""
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
        """Read a recipe; given values replace those of the file.

        A run in another format than the recipe's has an output folder of its own: the recipe's with the
        format behind it, unless ``output`` is given.

        Args:
            path: The TOML file.
            data: Folder of the corpora.
            output: Folder of the run.
            format: The form of the model's answers.
            changes: Values in place of the file's, as ``training.ema_decay=0.9`` or ``seed=2``; the right
                side is TOML, and a number on the left chooses from an array.

        Raises:
            ConfigurationError: The file cannot be read or does not describe a run.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            for change in changes:
                _set(values, change)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}") from error
        if renamed := [f"`{old}` is now `{new}`" for old, new in _RENAMED.items() if _holds(values, old)]:
            raise ConfigurationError(f"{path} uses names of an older version: {', '.join(renamed)}")
        if format not in {None, values.get("format", "padellm")} and "output" in values:
            output = output or Path(f"{values['output']}-{format}")
        given = {"data": data, "output": output, "format": format}
        try:
            return cls.model_validate(values | {name: value for name, value in given.items() if value})
        except ValidationError as error:
            raise ConfigurationError(f"{path} is not a training recipe: {error}") from error


_RENAMED = {
    "initial": "init_from",
    "optimiser": "training",
    "optimiser.cycles": "training.lr_schedule",
    "optimiser.matrices": "training.optimizer",
    "optimiser.bfloat16_products": "training.bf16_autocast",
    "optimiser.accumulate": "training.gradient_accumulation",
    "optimiser.checkpointing": "training.gradient_checkpointing",
    "optimiser.row_tokens": "training.max_seq_len",
    "optimiser.clip": "training.max_grad_norm",
    "optimiser.average": "training.ema_decay",
    "pretraining.row_tokens": "pretraining.max_seq_len",
    "losses.ordinal": "losses.mention_index",
    "losses.ordinal_layer": "losses.mention_index_layer",
}


def _holds(values: Any, name: str) -> bool:
    """Look for a dotted name in tables."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _set(values: dict[str, Any], change: str) -> None:
    """Set one value of a recipe.

    Raises:
        ConfigurationError: The change has no such place, or its value is not TOML.
    """
    name, _, value = change.partition("=")
    *path, last = (int(part) if part.isdecimal() else part for part in name.strip().split("."))
    place: Any = values  # a table or an array
    try:
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        place[last] = tomllib.loads(f"value = {value}")["value"]
    except (KeyError, IndexError, TypeError, AttributeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"invalid --set {change!r} (name=value, the value in TOML): {error}"
        ) from error

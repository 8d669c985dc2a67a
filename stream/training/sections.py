"""The sections of a training recipe."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """One table of the file: nothing in it may be misspelt."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusConfig(Section):
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


class TokenizerConfig(Section):
    """What the byte-level BPE is trained on.

    Attributes:
        main_copies: How often the main corpus's sentences are counted.
        plain_share: Share of the paragraphs of the plain texts that is counted.
    """

    vocabulary: int = Field(default=6000, ge=400, le=65536)
    main_copies: int = Field(default=3, ge=1)
    plain_share: float = Field(default=0.33, ge=0, le=1)


class ModelConfig(Section):
    """Architecture and shape of a fresh model.

    Attributes:
        architecture: transformers' name of it: ``llama``, ``mistral``, ``qwen2``, ``qwen3``,
            ``gemma3_text`` or another.
        kv_heads: Heads of keys and values; default: as many as ``heads``.
        tied: The output head is the embedding itself.
        dropout: In training only; for a checkpoint to start from too.
        options: More values of the architecture's own configuration.
    """

    architecture: str = "llama"
    hidden: int = Field(default=192, ge=8)
    layers: int = Field(default=4, ge=2)
    heads: int = Field(default=6, ge=1)
    kv_heads: int | None = Field(default=None, ge=1)
    feed_forward: int = Field(default=512, ge=8)
    max_positions: int = Field(default=2048, ge=16)
    tied: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(f"hidden ({self.hidden}) must be an even multiple of heads ({self.heads})")
        if self.heads % (self.kv_heads or 1):
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self


class LossConfig(Section):
    """Weights of the losses beside the answers' own, whose weight is 1; 0 leaves a loss out."""

    language_model: float = Field(default=0.3, ge=0)
    tagging: float = Field(default=0.5, ge=0)
    tagging_layer: int = Field(default=2, ge=0)
    ordinal: float = Field(default=0.2, ge=0)
    ordinal_layer: int = Field(default=3, ge=0)

    @property
    def deepest_layer(self) -> int:
        """The last layer that an auxiliary loss reads."""
        read = ((self.tagging, self.tagging_layer), (self.ordinal, self.ordinal_layer))
        return max((layer for weight, layer in read if weight), default=0)


class AugmentationConfig(Section):
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


class StageConfig(Section):
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


class CycleConfig(Section):
    """Steps over which the learning rate falls linearly to 0."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class OptimiserConfig(Section):
    """Linear warm-up of the learning rate, then one or more cycles of linear decay.

    Attributes:
        matrices: What steps the matrices inside the layers; all else is AdamW's. Muon makes each step
            orthogonal, which costs as much as reading some hundreds of tokens: for fresh models, and batches
            of a thousand tokens and more.
        bfloat16_products: Round the factors of matrix products to bfloat16 (sums stay float32): always on a
            GPU; on processors with AVX512-BF16 or AMX twice as fast, on others slow; ``measured`` tries both
            at the start and takes the faster. Weights and optimiser stay float32.
        batch_tokens: Tokens of a step's batch, packed, over all devices.
        accumulate: Parts that each device reads its share of a batch in, one after another: less memory, same
            step.
        checkpointing: Compute a layer's activations again for the gradient instead of keeping them: less
            memory, a third more time.
        weights: Type of the weights in training and of the optimiser's moments. ``bfloat16`` halves the
            memory, but loses a change below 1/256 of a weight: for checkpoints under adapters, which stay
            float32 themselves.
        row_tokens: Width of a packed row; a longer tree has a wider one.
        average: Decay per step of the running average of the weights, which is scored and exported; 0 for the
            weights themselves.
    """

    cycles: tuple[CycleConfig, ...] = Field(min_length=1)
    matrices: Literal["adamw", "muon"] = "adamw"
    bfloat16_products: bool | Literal["measured"] = False
    weights: Literal["float32", "bfloat16"] = "float32"
    batch_tokens: int = Field(default=512, ge=1)
    accumulate: int = Field(default=1, ge=1)
    checkpointing: bool = False
    row_tokens: int = Field(default=144, ge=8)
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


class PretrainingConfig(Section):
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


class AdapterConfig(Section):
    """Low-rank adapters on a frozen checkpoint (LoRA, arXiv 2106.09685), merged into its weights on export.

    Attributes:
        rank: Columns of an adapter's first factor; 8 to 64.
        alpha: An adapter's product is scaled by ``alpha / rank``.
        dropout: On an adapter's input, in training only.
        targets: Names of the linear layers that get adapters, as ``q_proj``; default: all but the head.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()

"""The sections of a training recipe; every number has its bounds."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One table of the file: unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CorpusConfig(Section):
    """One annotated corpus, and the phrases for its labels in a prompt.

    Attributes:
        name: Folder of the corpus under ``ner/``.
        labels: The corpus's label to its phrases. A label with several phrases is asked for under each;
            the last one names it for the tagging loss. Labels not listed are never asked for.
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
    """Size and training texts of the byte-level BPE.

    Attributes:
        vocabulary: Number of ids, control tokens included.
        main_copies: Times that each of the main corpus's sentences is counted.
        plain_share: Share of the paragraphs of the plain texts that is counted.
    """

    vocabulary: int = Field(default=6000, ge=400, le=65536)
    main_copies: int = Field(default=3, ge=1)
    plain_share: Share = 0.33


class ModelConfig(Section):
    """Architecture and shape of a fresh model.

    Attributes:
        architecture: transformers' name of it: ``llama``, ``mistral``, ``qwen2``, ``qwen3``,
            ``gemma3_text`` or another.
        hidden: Width of the residual stream.
        layers: Number of decoder layers.
        heads: Query heads of a layer; ``hidden`` is an even multiple of it.
        kv_heads: Heads of keys and values; default: as many as ``heads``.
        feed_forward: Inner width of the feed-forward layers.
        max_positions: Longest sequence, in tokens.
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
    """Weights of the losses beside the answers' own, whose weight is 1; 0 leaves a loss out.

    Attributes:
        none_bias: Added to the logit of a count of none, in training alone (logit adjustment, arXiv
            2007.07314): what is served answers none less readily, for more recall. Baselines have no counts.
        language_model: Next token of the text.
        tagging: BIO tags, by an auxiliary head that is thrown away.
        tagging_layer: The layer that this head reads; 0 is the embedding.
        mention_index: Number, within its label, of the mention that a token belongs to, by another such head.
        mention_index_layer: The layer that this head reads.
    """

    none_bias: float = Field(default=0.0, ge=0)
    language_model: float = Field(default=0.3, ge=0)
    tagging: float = Field(default=0.5, ge=0)
    tagging_layer: int = Field(default=2, ge=0)
    mention_index: float = Field(default=0.2, ge=0)
    mention_index_layer: int = Field(default=3, ge=0)

    @property
    def deepest_layer(self) -> int:
        """The last layer that an auxiliary loss reads."""
        read = ((self.tagging, self.tagging_layer), (self.mention_index, self.mention_index_layer))
        return max((layer for weight, layer in read if weight), default=0)


class AugmentationConfig(Section):
    """Changes to a drawn text before it is packed, and the labels that it is asked for.

    Attributes:
        raw: Share of the texts whose spelling is that of raw text, with punctuation attached.
        joined: Share of the texts that are two to four consecutive sentences.
        swapped_documents: Share of the main corpus's texts in which names are swapped.
        swapped_mentions: Share of the names that are swapped there.
        foreign_names: Share of these texts whose new names are those of the other corpora.
        upper_case: Share of the texts in capitals.
        lower_case: Share of the texts in small letters.
        wrapped: Share of the texts whose lines end within sentences, as in e-mail.
        max_text_tokens: Longest text; a longer one is drawn again.
        max_labels: Most labels that a text is asked for.
        max_absent: Most of these that the text has no mention of; default: what ``max_labels`` leaves.
        absent_share: Share of the labels without a mention that may be asked for, drawn anew for each text.
            Below 1, a text without mentions may be asked for nothing.
        label_order: Shuffled, or that of the corpus's labels in the recipe. A format that asks for each label
            by itself does not see it.
        described_labels: Share of the labels that are asked for with their description.
        aliased_labels: Share of the labels that are asked for by one of their aliases.
    """

    raw: Share = 0.35
    joined: Share = 0.15
    swapped_documents: Share = 0.6
    swapped_mentions: Share = 0.5
    foreign_names: Share = 0.5
    upper_case: Share = 0.03
    lower_case: Share = 0.0
    wrapped: Share = 0.0
    max_text_tokens: int = Field(default=160, ge=8)
    max_labels: int = Field(default=5, ge=1)
    max_absent: int | None = Field(default=None, ge=0)
    absent_share: Share = 1.0
    label_order: Literal["shuffled", "inventory"] = "shuffled"
    described_labels: Share = 0.0
    aliased_labels: Share = 0.0


class StageConfig(Section):
    """One part of the curriculum; it lasts until ``until``, a share of all steps.

    Attributes:
        until: Its end, as a share of all steps.
        main: Share of the main corpus among the documents.
        plain: Share of plain paragraphs, which carry the language-model loss alone.
        language_model_share: Share of the text's tokens whose language-model loss is computed.
        augmentation: Factor on the shares of raw, joined and swapped documents.
    """

    until: float = Field(gt=0, le=1)
    main: Share
    plain: Share = 0.0
    language_model_share: Share = 0.5
    augmentation: Share = 1.0


class LrCycle(Section):
    """One cycle of the learning rate: over its steps the rate falls linearly to 0.

    Attributes:
        steps: Its length.
        learning_rate: The rate at its start.
    """

    steps: int = Field(ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=100)


class TrainingConfig(Section):
    """Optimizer, learning rate, batch and memory.

    Attributes:
        lr_schedule: Cycles of the learning rate, after a linear warm-up.
        optimizer: Of the matrices inside the layers; AdamW steps all else. Muon makes each step orthogonal,
            which costs as much as reading some hundreds of tokens: for fresh models, and batches of a
            thousand tokens and more.
        bf16_autocast: Round the factors of matrix products to bfloat16 (sums stay float32): always on a GPU;
            on processors with AVX512-BF16 or AMX twice as fast, on others slow; ``measured`` takes the faster
            type, by a measurement at the start. Weights and the optimizer's moments stay float32.
        weights: Type of the weights in training and of the optimizer's moments. ``bfloat16`` halves the
            memory, but loses a change below 1/256 of a weight: for checkpoints under adapters, which stay
            float32 themselves.
        batch_tokens: Tokens of a step's batch, packed, over all devices.
        gradient_accumulation: Micro-batches that each device splits its share of a batch into, one after
            another: less memory, same step.
        gradient_checkpointing: Compute a layer's activations again for the gradient instead of keeping them:
            less memory, a third more time.
        max_seq_len: Width of a packed row, in tokens; a longer tree has a wider one.
        warm_up_steps: Steps over which the learning rate rises.
        betas: AdamW's decay rates of the first and the second moment.
        weight_decay: Of matrices; vectors do not decay.
        max_grad_norm: Norm that a longer gradient is clipped to.
        ema_decay: Decay per step of the exponential moving average of the weights, which is scored and
            exported; 0 for the weights themselves.
    """

    lr_schedule: tuple[LrCycle, ...] = Field(min_length=1)
    optimizer: Literal["adamw", "muon"] = "adamw"
    bf16_autocast: bool | Literal["measured"] = False
    weights: Literal["float32", "bfloat16"] = "float32"
    batch_tokens: int = Field(default=512, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = False
    max_seq_len: int = Field(default=144, ge=8)
    warm_up_steps: int = Field(default=100, ge=1)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    weight_decay: Share = 0.02
    max_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(cycle.steps for cycle in self.lr_schedule)

    def learning_rate(self, step: int) -> float:
        """The rate at a step."""
        warm = min(1.0, (step + 1) / self.warm_up_steps)
        for cycle in self.lr_schedule:
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
        max_seq_len: Tokens of a row.
        batch_tokens: Tokens of a step.
        learning_rate: Of Muon for matrices and AdamW for the rest; it rises over ``warm_up_steps``, stays,
            and falls linearly to 5% over the last ``decay`` of the stage.
        warm_up_steps: Steps over which the learning rate rises.
        decay: Share of the stage over which it falls.
        weight_decay: Of matrices; all else does not decay.
    """

    files: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    treebank_share: Share = 0.5
    tokens: int = Field(ge=1)
    max_seq_len: int = Field(default=512, ge=8)
    batch_tokens: int = Field(default=65536, ge=8)
    learning_rate: float = Field(default=2e-3, gt=0, le=100)
    warm_up_steps: int = Field(default=100, ge=1)
    decay: float = Field(default=0.5, gt=0, le=1)
    weight_decay: Share = 0.1


class AdapterConfig(Section):
    """Low-rank adapters on a frozen checkpoint (LoRA, arXiv 2106.09685), merged into its weights on export.

    Attributes:
        rank: Columns of an adapter's first factor; 8 to 64.
        alpha: An adapter's product is scaled by ``alpha / rank``.
        dropout: On an adapter's input, in training only.
        targets: Names of the linear layers that get adapters, as ``q_proj``; default: all but the head.
        initial: Folder of an adapter to go on from, of the same base, rank, scale, layers and control tokens;
            default: a fresh one, which changes nothing at first.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()
    initial: Path | None = None

"""Tiny checkpoints as others publish them: a tokenizer with an end token of its own, and random weights."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tests.training.synthetic import rows

FOREIGN_END = "<|endoftext|>"
FOREIGN_START = "<|startoftext|>"
_SPARE_ROWS = 7


def foreign_tokenizer(*, starts: bool = False) -> Tokenizer:
    """A byte-level BPE that splits words as GPT-2 does, and may set a token of its own before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=[AddedToken(token, special=True) for token in (FOREIGN_END, FOREIGN_START)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([row["text"] for row in rows(200)], trainer)
    if starts:
        first = (FOREIGN_START, tokenizer.token_to_id(FOREIGN_START))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{FOREIGN_START} $A", special_tokens=[first]
        )
    return tokenizer


def write_foreign(folder: Path, architecture: str, *, starts: bool = False, **options: Any) -> Path:
    """A folder as `save_pretrained` leaves it; its embedding has more rows than the tokenizer has ids.

    Args:
        folder: Is made.
        architecture: transformers' name.
        starts: The tokenizer sets a token before every text.
        options: Of the architecture's configuration; ``dtype`` too.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = foreign_tokenizer(starts=starts)
    torch.manual_seed(0)
    shape = {
        "vocab_size": tokenizer.get_vocab_size() + _SPARE_ROWS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(FOREIGN_END),
        "pad_token_id": None,
    }
    dtype = options.pop("dtype", torch.float32)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **shape | options))
    model.to(dtype).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=FOREIGN_END).save_pretrained(folder)
    return folder

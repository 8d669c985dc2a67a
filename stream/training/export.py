"""A checkpoint folder that both ``AutoModelForCausalLM`` and our engine serve."""

import copy
import shutil
from pathlib import Path
from uuid import uuid4

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM

from stream.ner.baselines.config import BaselineConfig
from stream.ner.config import BASELINE_FILE_NAME, FILE_NAME, NerConfig
from stream.training.tokenizer import save_tokenizer


def export(
    model: LlamaForCausalLM, tokenizer: Tokenizer, config: NerConfig | BaselineConfig, folder: Path
) -> None:
    """Write weights (float16), tokenizer and NER configuration, then put them in place of ``folder``."""
    fresh = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
    fresh.mkdir(parents=True)
    half = copy.deepcopy(model).to(torch.float16)
    half.config.use_cache = True
    half.generation_config = GenerationConfig(
        eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id, do_sample=False
    )
    half.save_pretrained(fresh)
    save_tokenizer(tokenizer, fresh, model.config.max_position_embeddings)
    name = BASELINE_FILE_NAME if isinstance(config, BaselineConfig) else FILE_NAME
    (fresh / name).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in fresh.iterdir():
        path.chmod(0o644)  # weights are written for their owner alone; a server runs as another user
    if folder.exists():
        old = folder.with_name(f".{folder.name}-old")
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)

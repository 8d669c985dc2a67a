"""A checkpoint folder that both ``AutoModelForCausalLM`` and our engine serve."""

import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from stream.baselines.config import BaselineConfig
from stream.ner.config import BASELINE_FILE_NAME, FILE_NAME, NerConfig
from stream.training.tokenizer import CheckpointTokenizer

_SHORT = (torch.float16, torch.bfloat16)


def export(
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    folder: Path,
    *,
    tokenizer: CheckpointTokenizer,
    config: NerConfig | BaselineConfig,
    dtype: torch.dtype,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write weights, tokenizer and NER configuration, then put them in place of ``folder``.

    Args:
        model: Its class and configuration are those of the checkpoint.
        weights: By the names of a model of that class.
        folder: Replaced as a whole; the old or the new one is there at any time but the instant between two
            renames.
        tokenizer: Saved beside them.
        config: Configuration of the method, or of a baseline.
        dtype: Of the weights written.
        add: Writes more into the folder.
    """
    for left_behind in folder.parent.glob(f".{folder.name}-*"):  # by a run that was killed
        shutil.rmtree(left_behind)
    fresh = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
    fresh.mkdir(parents=True)
    shell = _shell(model, weights, tokenizer, dtype)
    shell.save_pretrained(fresh)
    tokenizer.save(fresh, model.config.get_text_config().max_position_embeddings)
    name = BASELINE_FILE_NAME if isinstance(config, BaselineConfig) else FILE_NAME
    (fresh / name).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if add:
        add(fresh)
    for path in (path for path in fresh.rglob("*") if path.is_file()):
        path.chmod(0o644)  # weights are written for their owner alone; a server runs as another user
    replace_folder(fresh, folder)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put a folder in the place of another beside it."""
    if folder.exists():
        old = folder.with_name(f".{folder.name}-old")
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)


def weights_type(wanted: str | None, init_from: Path | None) -> torch.dtype:
    """The type to export: the wanted one, else that of a 16-bit checkpoint started from, else float16."""
    if wanted:
        named: torch.dtype = getattr(torch, wanted)
        return named
    own = AutoConfig.from_pretrained(init_from, local_files_only=True).dtype if init_from else None
    return own if own in _SHORT else torch.float16


def _shell(
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    tokenizer: CheckpointTokenizer,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """A model of the same class over rounded copies of the weights, on the CPU; nothing else is copied."""
    config = copy.deepcopy(model.config)
    config.use_cache = True
    with torch.device("meta"):
        shell = type(model)(config)
    rounded = {
        name: tensor.to("cpu", dtype) if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in weights.items()
    }
    shell.load_state_dict(rounded, assign=True)
    shell.tie_weights()
    shell.generation_config = GenerationConfig(
        eos_token_id=tokenizer.end_id, pad_token_id=tokenizer.pad_id, do_sample=False
    )
    return shell

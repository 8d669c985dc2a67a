"""The training loop: goes on where it was stopped, and exports a servable checkpoint again and again."""

import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from stream.baselines.prompts import BaselinePrompts
from stream.ner.template import PromptTemplate
from stream.training.adapter import write_adapter
from stream.training.causal import decoder_layers
from stream.training.export import export, replace_folder, weights_type
from stream.training.lora import merged
from stream.training.metrics import SAMPLE, EarlyStopping, Metrics, Progress, Window, draw_curves
from stream.training.model import TrainingModel, compiled, products
from stream.training.optimiser import make_optimisers
from stream.training.packing import Batch, count_targets, split
from stream.training.preparation import load_training_data, make_tokenizer
from stream.training.processes import Processes
from stream.training.product_type import in_bfloat16
from stream.training.recipe import Recipe
from stream.training.reformulation import Reformulator
from stream.training.run_state import RunState, whole_weights
from stream.training.sampler import Sampler
from stream.training.scoring import Scorer, Scores
from stream.training.starting_model import starting_model
from stream.training.tree_check import check_tree_attention

_LOG_STEPS = 100
_BATCHES_AHEAD = 8
log = structlog.get_logger(__name__)


class Trainer:
    """One run of a recipe in its output folder.

    ``pretrained/`` holds what language modelling made, if the recipe asks for it; ``state.pt`` weights,
    optimiser and counters; ``metrics.jsonl`` a line for every log step and score; ``plot.svg`` its curves, in
    the end; ``checkpoint/`` the latest export, or the best one where the recipe has patience.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.processes = Processes(recipe.device, sharded=recipe.sharded)
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self._rounded = in_bfloat16(self.processes.device, recipe.optimiser.bfloat16_products)
        recipe.output.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics(recipe.output / "metrics.jsonl")
        self.stopping = EarlyStopping(self.metrics, recipe.patience)
        data = load_training_data(recipe)
        with self.processes.first_one_first():
            self.tokenizer = make_tokenizer(recipe, data)
            causal = starting_model(recipe, self.tokenizer, self.processes.device, self.metrics)
        self.template = PromptTemplate(
            recipe.ner, Tokenizer.from_str(self.tokenizer.tokenizer.to_str()), self.tokenizer.end_id
        )
        baseline = BaselinePrompts(self.template, recipe.baseline) if recipe.baseline else None
        self.sampler = Sampler(recipe, data, Reformulator(self.template, recipe.phrases, baseline))
        self.scorer = Scorer(recipe, self.template, self.processes.device)
        self.model = TrainingModel(
            causal,
            phrases=len(recipe.phrases),
            max_count=recipe.ner.max_count,
            weights=recipe.losses,
            dropout=recipe.model.dropout,
        ).to(self.processes.device)
        check_tree_attention(self.model, self.tokenizer.size)
        if recipe.optimiser.checkpointing:
            causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        decay = recipe.optimiser.average
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self._losses = self.processes.prepare(self.model)
        if self.average is not None:
            self.processes.shard(self.average.module)
        self.progress = Progress(len(self.sampler), shown=self.processes.is_first)
        self.optimisers = make_optimisers(self.model, recipe.optimiser)
        self.state = RunState(self.model, self.optimisers, self.average, self.processes.sharded)
        self._resume()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step

    @property
    def served(self) -> TrainingModel:
        """The model that is scored and exported."""
        served: TrainingModel = self.model if self.average is None else self.average.module
        return served

    def run(self) -> Scores:
        """Train to the end of the recipe, export, and score the whole development set."""
        self._catch_up()
        with compiled(decoder_layers(self.model.causal), self.processes.device), self.progress:
            self._train()
        if self.stopping.keeps_best:
            self._save_state()
            self._catch_up()
        else:
            self.save()
        scores = self._score(self._checkpoint, None) if self.processes.is_first else None
        told: Scores = self.processes.told_by_first(scores)
        self._log("dev", **asdict(told))
        if self.processes.is_first:
            draw_curves(self.metrics.lines(), self.recipe.output / "plot.svg")
        return told

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step; the parts of its loss, not yet waited for, and of several processes this one's share."""
        config, processes = self.recipe.optimiser, self.processes
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * processes.count + processes.number)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate(self.step)
            optimiser.zero_grad(set_to_none=True)
        parts = self._gradients(batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.state.step += 1
        return parts

    def save(self) -> None:
        """Write the state to resume from, and export the checkpoint."""
        self._save_state()
        self._export(self._checkpoint)

    def _train(self) -> None:
        if self._is_enough():
            return
        saved = started = time.monotonic()
        window = Window()
        for batch in self._batches():
            window.add(self.train_step(batch), batch)
            self.state.seconds += time.monotonic() - started
            started = time.monotonic()
            self.progress.advance(self.step)
            if self.step % _LOG_STEPS == 0:
                self._log("step", **window.means(self.processes.sum))
                window = Window()
            if self._is_export_due(started - saved):
                self._save_state()
                self._export_and_score()
                if self._is_enough():
                    return
                saved = started = time.monotonic()

    def _gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Make the gradients of a batch: of all of it at once, or of this process's shares one by one."""
        processes, shares = self.processes, self.recipe.optimiser.accumulate * self.processes.count
        if shares == 1:
            return self._descend(batch)
        targets = count_targets(batch)
        own = split(batch, shares)[processes.number :: processes.count]
        summed: dict[str, Tensor] = {}
        for number, share in enumerate(own, 1):
            with nullcontext() if number == len(own) else processes.keep_gradients(self._losses):
                parts = self._descend(share, targets)
            summed = {name: part + summed.get(name, 0.0) for name, part in parts.items()}
        return summed

    def _descend(self, batch: Batch, targets: dict[str, int] | None = None) -> dict[str, Tensor]:
        rounded = self._rounded
        with products(self.processes.device, bfloat16=rounded):
            losses = self._losses(batch, targets)
        # Gradients become the mean over processes, and are to be the sum over shares.
        total = losses.total if self.processes.count == 1 else losses.total * self.processes.count
        with products(self.processes.device, bfloat16=rounded):
            total.backward()
        parts: dict[str, Tensor] = losses.parts
        return parts

    def _batches(self) -> Iterator[Batch]:
        """The batches of the steps that are left, drawn ahead by the recipe's workers."""
        workers = self.recipe.workers
        return iter(
            DataLoader(
                self.sampler,
                batch_size=None,
                sampler=range(self.step, len(self.sampler)),
                num_workers=workers,
                prefetch_factor=_BATCHES_AHEAD if workers else None,
                collate_fn=_as_it_is,
            )
        )

    def _is_export_due(self, seconds: float) -> bool:
        """By the recipe's count of steps, or by its minutes; the clock is the first process's."""
        if self.recipe.export_steps:
            return self.step % self.recipe.export_steps == 0 and self.step < len(self.sampler)
        if self.processes.count > 1 and self.step % _LOG_STEPS:
            return False
        due: bool = self.processes.told_by_first(seconds > self.recipe.export_minutes * 60)
        return due

    def _is_enough(self) -> bool:
        enough: bool = self.processes.told_by_first(self.stopping.is_due())
        return enough

    def _catch_up(self) -> None:
        """Export and score what has no score: the last step, where scores decide, or one a kill cut short."""
        wanted = self.step < len(self.sampler) or self.stopping.keeps_best
        lacking = self.step > 0 and wanted and not self.stopping.has_score(self.step)
        if self.processes.told_by_first(lacking):
            self._export_and_score()

    def _export_and_score(self) -> None:
        """Export and score a sample; where the best is kept, the export only counts if it is better."""
        folder = self.recipe.output / "candidate" if self.stopping.keeps_best else self._checkpoint
        self._export(folder)
        if not self.processes.is_first:
            return
        scores = self._score(folder, self.recipe.dev_sample)
        if self.stopping.keeps_best:
            if self.stopping.improves(scores.f1):
                replace_folder(folder, self._checkpoint)
            else:
                shutil.rmtree(folder)
        self._log(SAMPLE, **asdict(scores))
        self.progress.score(scores.f1)

    def _score(self, folder: Path, sample: int | None) -> Scores:
        """Score the export in a folder, or the model in memory where that is the same."""
        other = folder == self._checkpoint and self.stopping.keeps_best
        if self.recipe.baseline or self.processes.sharded or other:
            return self.scorer.checkpoint(folder, sample)
        served = self.served.eval()
        scores = self.scorer.model(served.causal, sample)
        served.train()
        return scores

    def _export(self, folder: Path) -> None:
        recipe, causal = self.recipe, self.served.causal
        weights = whole_weights(causal, kept=self.processes.is_first)
        if not self.processes.is_first:
            return
        dtype, add = weights_type(recipe.export_weights, recipe.initial), None
        if recipe.lora:
            add = partial(write_adapter, causal, weights, tokenizer=self.tokenizer, recipe=recipe)
            weights = merged(weights, recipe.lora, list(self.tokenizer.added), dtype)
        export(
            causal, weights, folder, tokenizer=self.tokenizer, config=recipe.exported, dtype=dtype, add=add
        )

    def _save_state(self) -> None:
        self.state.save(self._state_file, write=self.processes.is_first)

    def _resume(self) -> None:
        if self._state_file.exists():
            self.state.load(self._state_file, self.processes.device)
            if self.processes.is_first:
                self.metrics.rewind(self.step)
            log.info("training resumed", step=self.step)

    def _log(self, event: str, **values: Any) -> None:
        if self.processes.is_first:
            self.metrics.write(event, self.step, minutes=round(self.state.seconds / 60, 2), **values)

    @property
    def _checkpoint(self) -> Path:
        return self.recipe.output / "checkpoint"

    @property
    def _state_file(self) -> Path:
        return self.recipe.output / "state.pt"


def _as_it_is(batch: Batch) -> Batch:
    """Batches stay numpy arrays on their way from a worker."""
    return batch

"""The training loop: resumes a stopped run, and exports a servable checkpoint at intervals."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
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
from stream.evaluation.runner import Evaluation
from stream.ner.template import PromptTemplate
from stream.training.adapter import write_adapter
from stream.training.causal import decoder_layers, load_causal
from stream.training.export import export, replace_folder, weights_type
from stream.training.lora import merged
from stream.training.metrics import SAMPLE, EarlyStopping, Metrics, Progress, StepMeans, draw_curves
from stream.training.model import TrainingModel, bf16_autocast, compiled
from stream.training.optimiser import make_optimisers
from stream.training.packing import PackedBatch, count_targets, split
from stream.training.preparation import load_training_data, make_tokenizer
from stream.training.processes import Processes, end_with_parent
from stream.training.product_type import in_bfloat16
from stream.training.recipe import Recipe
from stream.training.reformulation import Reformulator
from stream.training.run_state import RunState, put_weights, whole_weights
from stream.training.sampler import Sampler
from stream.training.scoring import figures, score_checkpoint
from stream.training.starting_model import pretrained_folder, starting_model
from stream.training.stop_signal import StopSignal
from stream.training.tree_check import check_tree_attention

_LOG_STEPS = 100
_BATCHES_AHEAD = 8
log = structlog.get_logger(__name__)


class Trainer:
    """One run of a recipe in its output folder.

    ``pretrained/`` holds the model after language modelling, if the recipe asks for it; ``state.pt`` weights,
    optimiser and counters; ``metrics.jsonl`` a line for every log step and score; ``plot.svg`` its curves, in
    the end; ``checkpoint/`` the latest export, or the best one where the recipe has patience.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.processes = Processes(recipe.device, sharded=recipe.sharded)
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self._bf16 = in_bfloat16(self.processes.device, recipe.training.bf16_autocast)
        recipe.output.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics(recipe.output / "metrics.jsonl")
        self.stopping = EarlyStopping(self.metrics, recipe.patience)
        data = load_training_data(recipe)
        with self.processes.first_one_first():
            self.tokenizer = make_tokenizer(recipe, data)
            causal = starting_model(recipe, self.tokenizer, self.processes.device)
        self.template = PromptTemplate(
            recipe.ner, Tokenizer.from_str(self.tokenizer.tokenizer.to_str()), self.tokenizer.end_id
        )
        baseline = BaselinePrompts(self.template, recipe.baseline) if recipe.baseline else None
        self.sampler = Sampler(recipe, data, Reformulator(self.template, recipe.phrases, baseline))
        self.model = TrainingModel(
            causal,
            phrases=len(recipe.phrases),
            max_count=recipe.ner.max_count,
            none_id=None if recipe.baseline else self.template.count_answer_ids(0)[0],
            weights=recipe.losses,
            dropout=recipe.model.dropout,
        ).to(self.processes.device)
        check_tree_attention(self.model, self.tokenizer.size)
        if recipe.training.gradient_checkpointing:
            causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        decay = recipe.training.ema_decay
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self._losses = self.processes.prepare(self.model)
        if self.average is not None:
            self.processes.shard(self.average.module)
        self.progress = Progress(len(self.sampler), shown=self.processes.is_first)
        self.optimisers = make_optimisers(self.model, recipe.training)
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

    def run(self) -> Evaluation:
        """Pre-train if the recipe asks for it, train to its end, export, and score the development set."""
        self._pretrain()
        self._catch_up()
        # Each of several processes would save another step, so they end at once.
        held = StopSignal() if self.processes.count == 1 else nullcontext()
        layers = decoder_layers(self.model.causal)
        with compiled(layers, self.processes.device), self.progress, held as stop:
            self._train(stop)
        if self.stopping.keeps_best:
            self._save_state()
            self._catch_up()
        else:
            self.save()
        own = self._score(self._checkpoint, None) if self.processes.is_first else None
        evaluation: Evaluation = self.processes.broadcast(own)
        self._log("dev", **figures(evaluation))
        if self.processes.is_first:
            draw_curves(self.metrics.lines(), self.recipe.output / "plot.svg")
        return evaluation

    def train_step(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Take one step; return the parts of this process's loss without waiting for them."""
        config, processes = self.recipe.training, self.processes
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * processes.count + processes.number)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate(self.step)
            optimiser.zero_grad(set_to_none=True)
        parts = self._gradients(batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
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

    def _pretrain(self) -> None:
        """Begin with the weights of language modelling; a checkpoint or steps already made replace it."""
        stage = self.recipe.pretraining
        if stage is None or self.recipe.init_from or self.step:
            return
        with self.processes.first_one_first():
            folder = pretrained_folder(
                self.recipe, stage, self.tokenizer, self.processes.device, self.metrics
            )
        weights = load_causal(folder, self.tokenizer, "eager").state_dict()
        put_weights(self.model.causal, weights, folder, sharded=self.processes.sharded)

    def _train(self, stop: StopSignal | None) -> None:
        if self._is_enough():
            return
        saved = started = time.monotonic()
        means = StepMeans()
        for batch in self._batches():
            means.add(self.train_step(batch), batch)
            self.state.seconds += time.monotonic() - started
            started = time.monotonic()
            self.progress.advance(self.step)
            if stop is not None and stop.number is not None:
                self._save_state()
                log.info("training stopped and saved: the same command goes on", step=self.step)
                stop.obey()
            if self.step % _LOG_STEPS == 0:
                self._log("step", **means.read(self.processes.sum))
                means = StepMeans()
            if self._is_export_due(started - saved):
                self._save_state()
                self._export_and_score()
                if self._is_enough():
                    return
                saved = started = time.monotonic()

    def _gradients(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Compute the gradients of a batch: at once, or of this process's micro-batches one by one."""
        processes, shares = self.processes, self.recipe.training.gradient_accumulation * self.processes.count
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

    def _descend(self, batch: PackedBatch, targets: dict[str, int] | None = None) -> dict[str, Tensor]:
        on_cpu = self._bf16
        with bf16_autocast(self.processes.device, on_cpu=on_cpu):
            losses = self._losses(batch, targets)
        # Gradients become the mean over processes, and are to be the sum over shares.
        total = losses.total if self.processes.count == 1 else losses.total * self.processes.count
        with bf16_autocast(self.processes.device, on_cpu=on_cpu):
            total.backward()
        parts: dict[str, Tensor] = losses.parts
        return parts

    def _batches(self) -> Iterator[PackedBatch]:
        """The batches of the steps that are left, drawn ahead by the recipe's workers."""
        workers = self.recipe.workers
        return iter(
            DataLoader(
                self.sampler,
                batch_size=None,
                sampler=range(self.step, len(self.sampler)),
                num_workers=workers,
                prefetch_factor=_BATCHES_AHEAD if workers else None,
                collate_fn=_unchanged,
                worker_init_fn=partial(end_with_parent, os.getpid()),
            )
        )

    def _is_export_due(self, seconds: float) -> bool:
        """By the recipe's count of steps, or by its minutes; the clock is the first process's."""
        if self.recipe.export_steps:
            return self.step % self.recipe.export_steps == 0 and self.step < len(self.sampler)
        if self.processes.count > 1 and self.step % _LOG_STEPS:
            return False
        due: bool = self.processes.broadcast(seconds > self.recipe.export_minutes * 60)
        return due

    def _is_enough(self) -> bool:
        enough: bool = self.processes.broadcast(self.stopping.is_due())
        return enough

    def _catch_up(self) -> None:
        """Export and score a step that lacks it after a kill, or the last one where scores decide."""
        wanted = self.step < len(self.sampler) or self.stopping.keeps_best
        lacking = self.step > 0 and wanted and not self.stopping.has_score(self.step)
        if self.processes.broadcast(lacking):
            self._export_and_score()

    def _export_and_score(self) -> None:
        """Export and score a sample; where the best is kept, the export only counts if it is better."""
        folder = self.recipe.output / "candidate" if self.stopping.keeps_best else self._checkpoint
        self._export(folder)
        if not self.processes.is_first:
            return
        scores = figures(self._score(folder, self.recipe.dev_sample))
        if self.stopping.keeps_best:
            if self.stopping.improves(scores["f1"]):
                replace_folder(folder, self._checkpoint)
            else:
                shutil.rmtree(folder)
        self._log(SAMPLE, **scores)
        self.progress.score(scores["f1"])

    def _score(self, folder: Path, sample: int | None) -> Evaluation:
        return score_checkpoint(folder, self.recipe, self.processes.device, sample)

    def _export(self, folder: Path) -> None:
        recipe, causal = self.recipe, self.served.causal
        weights = whole_weights(causal, kept=self.processes.is_first)
        if not self.processes.is_first:
            return
        dtype, add = weights_type(recipe.export_weights, recipe.init_from), None
        if recipe.lora:
            add = partial(write_adapter, causal, weights, tokenizer=self.tokenizer, recipe=recipe)
            weights = merged(weights, recipe.lora, list(self.tokenizer.added), dtype)
        export(
            causal, weights, folder, tokenizer=self.tokenizer, config=recipe.exported, dtype=dtype, add=add
        )

    def _save_state(self) -> None:
        self.state.save(self._state_file, write=self.processes.is_first)

    def _resume(self) -> None:
        """Load the state, if a run left one here, and forget the log's lines after it."""
        if self._state_file.exists():
            self.state.load(self._state_file, self.processes.device)
            log.info("training resumed", step=self.step)
        if self.processes.is_first:
            self.metrics.rewind(self.step)

    def _log(self, event: str, **values: Any) -> None:
        if self.processes.is_first:
            self.metrics.write(event, self.step, minutes=round(self.state.seconds / 60, 2), **values)

    @property
    def _checkpoint(self) -> Path:
        return self.recipe.output / "checkpoint"

    @property
    def _state_file(self) -> Path:
        return self.recipe.output / "state.pt"


def _unchanged(batch: PackedBatch) -> PackedBatch:
    """Keep batches as numpy arrays on their way from a worker."""
    return batch

"""The training loop: resumes where it was stopped, and exports a servable checkpoint every few minutes."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import structlog
import torch
from tokenizers import Tokenizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from stream.ner.baselines.prompts import BaselinePrompts
from stream.ner.template import PromptTemplate
from stream.training.architecture import decoder_layers
from stream.training.baselines import read_with_engine
from stream.training.config import Recipe
from stream.training.corpora import load_scored
from stream.training.device import choose_device, compiled, products
from stream.training.export import export, weights_type
from stream.training.greedy import Scores, keep_likeliest, read, score
from stream.training.lora import merged
from stream.training.metrics import Metrics
from stream.training.model import TrainingModel
from stream.training.packing import Batch
from stream.training.preparation import load_training_data, make_tokenizer
from stream.training.reformulation import Reformulator
from stream.training.sampler import Sampler
from stream.training.sections import OptimiserConfig
from stream.training.starting_model import starting_model
from stream.training.trained_state import load_trained_state, trained_state
from stream.training.tree_check import check_tree_attention

_LOG_STEPS = 100
_BATCHES_AHEAD = 8
log = structlog.get_logger(__name__)


class Trainer:
    """One run of a recipe in its output folder.

    ``pretrained/`` holds what language modelling made, if the recipe asks for it; ``state.pt`` weights,
    optimiser and counters; ``metrics.jsonl`` a line for every log step and score; ``checkpoint/`` the latest
    export.
    """

    def __init__(self, recipe: Recipe) -> None:
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = choose_device(recipe.device)
        recipe.output.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics(recipe.output / "metrics.jsonl")
        data = load_training_data(recipe)
        self.tokenizer = make_tokenizer(recipe, data)
        self.template = PromptTemplate(
            recipe.ner, Tokenizer.from_str(self.tokenizer.tokenizer.to_str()), self.tokenizer.end_id
        )
        baseline = BaselinePrompts(self.template, recipe.baseline) if recipe.baseline else None
        self.sampler = Sampler(recipe, data, Reformulator(self.template, recipe.phrases, baseline))
        self.model = TrainingModel(
            starting_model(recipe, self.tokenizer, self.device, self.metrics),
            phrases=len(recipe.phrases),
            max_count=recipe.ner.max_count,
            weights=recipe.losses,
            dropout=recipe.model.dropout,
        ).to(self.device)
        check_tree_attention(self.model, self.tokenizer.size)
        self.optimiser = _optimiser(self.model, recipe.optimiser)
        decay = recipe.optimiser.average
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self.step, self.seconds = 0, 0.0
        self._resume()

    @property
    def served(self) -> TrainingModel:
        """The model that is scored and exported."""
        served: TrainingModel = self.model if self.average is None else self.average.module
        return served

    def run(self) -> Scores:
        """Train to the end of the recipe, export, and score the whole development set."""
        with compiled(decoder_layers(self.model.causal), self.device):
            self._train()
        self.save()
        scores = self.score()
        self._log_scores("dev", scores)
        return scores

    def _train(self) -> None:
        saved = started = time.monotonic()
        window: list[dict[str, torch.Tensor]] = []
        for batch in self._batches():
            window.append(self.train_step(batch))
            self.seconds += time.monotonic() - started
            started = time.monotonic()
            if self.step % _LOG_STEPS == 0:
                self._log_window(window)
                window = []
            if started - saved > self.recipe.export_minutes * 60:
                self.save()
                self._log_scores("sample", self.score(self.recipe.dev_sample))
                saved = started = time.monotonic()

    def score(self, sample: int | None = None) -> Scores:
        """Score the main corpus's development set, de-duplicated; a sample is spread over the whole set.

        A baseline is scored as it was last saved.
        """
        recipe = self.recipe
        sentences = load_scored(recipe.data, recipe.used_corpora[0])
        sentences = sentences[:: max(1, len(sentences) // sample) if sample else 1]
        labels = recipe.ner.default_labels
        if recipe.baseline:
            saved = recipe.output / "checkpoint"
            readings = read_with_engine(saved, sentences, labels, threads=recipe.threads)
            return score(sentences, readings, labels)
        served = self.served.eval()
        with products(self.device, bfloat16=False):
            readings = read(served.causal, self.template, sentences, labels)
        served.train()
        return score(sentences, readings, labels, keep_likeliest)

    def train_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step; the parts of its loss, not yet waited for."""
        optimiser = self.recipe.optimiser
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = optimiser.learning_rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        with products(self.device, bfloat16=optimiser.bfloat16_products):
            losses = self.model(batch)
        with products(self.device, bfloat16=optimiser.bfloat16_products):
            losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), optimiser.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        sizes = {"tokens": float(batch.ids.size), "documents": float(batch.documents)}
        parts: dict[str, torch.Tensor] = losses.parts
        return parts | {name: torch.tensor(size) for name, size in sizes.items()}

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

    def save(self) -> None:
        """Write the state to resume from, and export the checkpoint."""
        path = self.recipe.output / "state.pt"
        fresh = path.with_suffix(".part")
        state = {
            "model": trained_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "average": trained_state(self.average) if self.average is not None else None,
            "counters": (self.step, self.seconds),
        }
        torch.save(state, fresh)
        fresh.rename(path)
        self._export()

    def _export(self) -> None:
        recipe, causal = self.recipe, self.served.causal
        weights = causal.state_dict()
        if recipe.lora:
            weights = merged(weights, recipe.lora, list(self.tokenizer.added))
        export(
            causal,
            weights,
            recipe.output / "checkpoint",
            tokenizer=self.tokenizer,
            config=recipe.exported,
            dtype=weights_type(recipe.export_weights, recipe.initial),
        )

    def _resume(self) -> None:
        path = self.recipe.output / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        load_trained_state(self.model, state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            load_trained_state(self.average, state["average"])
        self.step, self.seconds = state["counters"]
        self.metrics.rewind(self.step)
        log.info("training resumed", step=self.step)

    def _log_window(self, window: list[dict[str, torch.Tensor]]) -> None:
        means = {name: round(float(torch.stack([w[name] for w in window]).mean()), 4) for name in window[0]}
        self._log("step", **means)

    def _log_scores(self, name: str, scores: Scores) -> None:
        self._log(name, **asdict(scores))

    def _log(self, event: str, **values: Any) -> None:
        self.metrics.write(event, self.step, minutes=round(self.seconds / 60, 2), **values)


def _optimiser(model: TrainingModel, config: OptimiserConfig) -> torch.optim.AdamW:
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.cycles[0].learning_rate, betas=config.betas, fused=True)


def _as_it_is(batch: Batch) -> Batch:
    """Batches stay numpy arrays on their way from a worker."""
    return batch

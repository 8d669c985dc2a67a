"""The training loop: resumes where it was stopped, and exports a servable checkpoint every few minutes."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from random import Random
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, PreTrainedModel

from stream.ner.baselines.prompts import BaselinePrompts
from stream.ner.template import PromptTemplate
from stream.training.baselines import read_with_engine
from stream.training.config import OptimiserConfig, PretrainingConfig, Recipe
from stream.training.corpora import Corpus, Sentence, dev_texts, load_corpus, load_scored, plain_paragraphs
from stream.training.detokenise import detokenise
from stream.training.device import choose_device, compiled, products
from stream.training.export import export
from stream.training.greedy import Scores, keep_likeliest, read, score
from stream.training.model import TrainingModel, build_model
from stream.training.packing import Batch
from stream.training.plain_text import plain_ids
from stream.training.pretraining import pretrain
from stream.training.reformulation import Reformulator
from stream.training.sampler import Sampler, TrainingData
from stream.training.tokenizer import END, PAD, load_tokenizer, token_id, train_tokenizer

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
        data = load_training_data(recipe)
        self.tokenizer = make_tokenizer(recipe, data)
        self.template = PromptTemplate(
            recipe.ner, Tokenizer.from_str(self.tokenizer.to_str()), token_id(self.tokenizer, END)
        )
        baseline = BaselinePrompts(self.template, recipe.baseline) if recipe.baseline else None
        self.sampler = Sampler(recipe, data, Reformulator(self.template, recipe.phrases, baseline))
        self.model = TrainingModel(
            self._causal(),
            phrases=len(recipe.phrases),
            max_count=recipe.ner.max_count,
            weights=recipe.losses,
            dropout=recipe.model.dropout,
        ).to(self.device)
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
        with compiled(self.model.causal.model.layers, self.device):
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
            losses = self.model.losses(batch)
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

    def _causal(self) -> PreTrainedModel:
        """The model to start from: a checkpoint, one that this run has pre-trained, or a fresh one."""
        recipe = self.recipe
        attention = "sdpa" if self.device.type == "cuda" else "eager"
        pretrained = recipe.output / "pretrained"
        folder = recipe.initial or (pretrained if pretrained.exists() else None)
        if folder:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation=attention, use_cache=False
            )
            if model.config.vocab_size < self.tokenizer.get_vocab_size():
                model.resize_token_embeddings(self.tokenizer.get_vocab_size())
            return model.to(self.device)
        end, pad = token_id(self.tokenizer, END), token_id(self.tokenizer, PAD)
        model = build_model(recipe.model, self.tokenizer.get_vocab_size(), end, pad, attention).to(
            self.device
        )
        if recipe.pretraining:
            ids = plain_stream(recipe, recipe.pretraining, self.tokenizer)
            loss = pretrain(model, ids, recipe.pretraining, self.device, recipe.seed)
            self._write({"step": 0, "event": "pretrained", "loss": round(loss, 4)})
            export(model, self.tokenizer, recipe.exported, pretrained)
        return model

    def save(self) -> None:
        """Write the state to resume from, and export the checkpoint."""
        path = self.recipe.output / "state.pt"
        fresh = path.with_suffix(".part")
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "counters": (self.step, self.seconds),
        }
        torch.save(state, fresh)
        fresh.rename(path)
        export(self.served.causal, self.tokenizer, self.recipe.exported, self.recipe.output / "checkpoint")

    def _resume(self) -> None:
        path = self.recipe.output / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step, self.seconds = state["counters"]
        log.info("training resumed", step=self.step)

    def _log_window(self, window: list[dict[str, torch.Tensor]]) -> None:
        means = {name: round(float(torch.stack([w[name] for w in window]).mean()), 4) for name in window[0]}
        self._log({"event": "step", **means})

    def _log_scores(self, name: str, scores: Scores) -> None:
        self._log({"event": name, **asdict(scores)})

    def _log(self, values: dict[str, Any]) -> None:
        self._write({"step": self.step, "minutes": round(self.seconds / 60, 2), **values})

    def _write(self, line: dict[str, Any]) -> None:
        with (self.recipe.output / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(line) + "\n")
        log.info(line.pop("event"), **line)


def plain_stream(recipe: Recipe, stage: PretrainingConfig, tokenizer: Tokenizer) -> NDArray[np.uint16]:
    """The recipe's plain texts as tokens, made once and kept in its output folder (``plain.npy``)."""
    path = recipe.output / "plain.npy"
    if not path.exists():
        unseen = dev_texts(recipe.data, recipe.excluded_dev)
        ids = plain_ids(
            recipe.data,
            stage.files,
            tokenizer,
            treebank_share=stage.treebank_share,
            unseen=unseen,
            seed=recipe.seed,
        )
        fresh = path.with_suffix(".part.npy")
        np.save(fresh, ids)
        fresh.rename(path)
    stream: NDArray[np.uint16] = np.load(path)
    return stream


def load_training_data(recipe: Recipe) -> TrainingData:
    """The annotated texts a recipe trains on, the main corpus first, and the plain ones it mixes in.

    No sentence of a development set is among them.
    """
    unseen = dev_texts(recipe.data, recipe.excluded_dev)
    corpora = tuple(
        _drawn(load_corpus(recipe.data, c, unseen=unseen), recipe.seed) for c in recipe.used_corpora
    )
    mixed = recipe.plain if any(stage.plain for stage in recipe.stages) else ()
    return TrainingData(corpora, plain_paragraphs(recipe.data, mixed, unseen))


def _drawn(corpus: Corpus, seed: int) -> Corpus:
    """As many of the sentences as the recipe wants, still in file order."""
    limit = corpus.config.limit
    if limit is None or limit >= len(corpus.sentences):
        return corpus
    numbers = sorted(Random(seed).sample(range(len(corpus.sentences)), limit))  # noqa: S311 - reproducible
    return Corpus(corpus.config, tuple(corpus.sentences[number] for number in numbers))


def prepare(recipe: Recipe) -> None:
    """Make all that a run needs of the plain texts, so that it can go on where these are not at hand."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(recipe, load_training_data(recipe))
    if recipe.pretraining:
        plain_stream(recipe, recipe.pretraining, tokenizer)


def make_tokenizer(recipe: Recipe, data: TrainingData) -> Tokenizer:
    """That of the checkpoint the run starts from, or one trained once and kept in its output folder."""
    if recipe.initial:
        return load_tokenizer(recipe.initial / "tokenizer.json", recipe.exported)
    path = recipe.output / "tokenizer.json"
    if not path.exists():
        texts = _tokenizer_texts(recipe, data)
        train_tokenizer(texts, recipe.tokenizer.vocabulary, recipe.exported).save(str(path))
    return Tokenizer.from_file(str(path))


def _tokenizer_texts(recipe: Recipe, data: TrainingData) -> list[str]:
    def both(sentences: tuple[Sentence, ...]) -> list[str]:
        return [text for s in sentences for text in (s.text, detokenise(s).text)]

    texts = both(data.corpora[0].sentences) * recipe.tokenizer.main_copies
    for corpus in data.corpora[1:]:
        texts += [s.text for s in corpus.sentences]
    paragraphs = plain_paragraphs(recipe.data, recipe.plain, dev_texts(recipe.data, recipe.excluded_dev))
    return texts + list(paragraphs[: int(len(paragraphs) * recipe.tokenizer.plain_share)])


def _optimiser(model: TrainingModel, config: OptimiserConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.cycles[0].learning_rate, betas=config.betas, fused=True)


def _as_it_is(batch: Batch) -> Batch:
    """Batches stay numpy arrays on their way from a worker."""
    return batch

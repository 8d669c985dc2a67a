"""The training loop: resumes where it was stopped, and exports a servable checkpoint every few minutes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import structlog
import torch
from tokenizers import Tokenizer

from stream.ner.template import PromptTemplate
from stream.training.config import OptimiserConfig, Recipe
from stream.training.corpora import Sentence, dev_texts, load_corpus, plain_paragraphs
from stream.training.detokenise import detokenise
from stream.training.export import export
from stream.training.greedy import Scores, keep_likeliest, read, score
from stream.training.model import TrainingModel, build_model
from stream.training.reformulation import Reformulator
from stream.training.sampler import Sampler, TrainingData
from stream.training.tokenizer import END, PAD, token_id, train_tokenizer

_LOG_STEPS = 100
log = structlog.get_logger(__name__)


class Trainer:
    """One run of a recipe in its output folder.

    ``state.pt`` holds weights, optimiser and counters; ``metrics.jsonl`` a line for every log step and score;
    ``checkpoint/`` the latest export.
    """

    def __init__(self, recipe: Recipe) -> None:
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        recipe.output.mkdir(parents=True, exist_ok=True)
        data = load_training_data(recipe)
        self.tokenizer = self._tokenizer(data)
        end, pad = token_id(self.tokenizer, END), token_id(self.tokenizer, PAD)
        self.template = PromptTemplate(recipe.ner, Tokenizer.from_str(self.tokenizer.to_str()), end)
        phrases = list(dict.fromkeys(p for c in recipe.corpora for ps in c.labels.values() for p in ps))
        self.sampler = Sampler(recipe, data, Reformulator(self.template, phrases))
        self.model = TrainingModel(
            build_model(recipe.model, self.tokenizer.get_vocab_size(), end, pad),
            phrases=len(phrases),
            max_count=recipe.ner.max_count,
            weights=recipe.losses,
            dropout=recipe.model.dropout,
        )
        self.optimiser = _optimiser(self.model, recipe.optimiser)
        self.step, self.documents, self.seconds = 0, 0, 0.0
        self._resume()

    def run(self) -> Scores:
        """Train to the end of the recipe, export, and score the whole development set."""
        saved = time.monotonic()
        window: list[dict[str, float]] = []
        started = time.monotonic()
        while self.documents < self.recipe.optimiser.documents:
            window.append(self.train_step())
            self.seconds += time.monotonic() - started
            started = time.monotonic()
            if self.step % _LOG_STEPS == 0:
                self._log_window(window)
                window = []
            if started - saved > self.recipe.export_minutes * 60:
                self.save()
                self._log_scores("sample", self.score(self.recipe.dev_sample))
                saved = started = time.monotonic()
        self.save()
        scores = self.score()
        self._log_scores("dev", scores)
        return scores

    def score(self, sample: int | None = None) -> Scores:
        """Score the main corpus's development set, de-duplicated; a sample is spread over the whole set."""
        recipe = self.recipe
        corpus = next(c for c in recipe.corpora if c.name == recipe.main)
        sentences = load_corpus(recipe.data, corpus, "dev").sentences
        if sample:
            sentences = sentences[:: max(1, len(sentences) // sample)]
        self.model.eval()
        readings = read(self.model.causal, self.template, sentences, recipe.ner.default_labels)
        self.model.train()
        return score(sentences, readings, recipe.ner.default_labels, keep_likeliest)

    def train_step(self) -> dict[str, float]:
        """One batch; the parts of its loss."""
        optimiser = self.recipe.optimiser
        progress = self.documents / optimiser.documents
        batch = self.sampler.batch(self.step, progress)
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = optimiser.learning_rate(self.step, self.documents)
        self.optimiser.zero_grad(set_to_none=True)
        with _products("bf16" if optimiser.bfloat16_products else "ieee"):
            losses = self.model.losses(batch)
            losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), optimiser.clip)
        self.optimiser.step()
        self.step += 1
        self.documents += batch.documents
        return losses.parts | {"tokens": float(batch.ids.size), "total": losses.total.item()}

    def _tokenizer(self, data: TrainingData) -> Tokenizer:
        path = self.recipe.output / "tokenizer.json"
        if not path.exists():
            train_tokenizer(
                _tokenizer_texts(self.recipe, data), self.recipe.tokenizer.vocabulary, self.recipe.ner
            ).save(str(path))
        return Tokenizer.from_file(str(path))

    def save(self) -> None:
        """Write the state to resume from, and export the checkpoint."""
        path = self.recipe.output / "state.pt"
        fresh = path.with_suffix(".part")
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counters": (self.step, self.documents, self.seconds),
        }
        torch.save(state, fresh)
        fresh.rename(path)
        export(self.model.causal, self.tokenizer, self.recipe.ner, self.recipe.output / "checkpoint")

    def _resume(self) -> None:
        path = self.recipe.output / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.documents, self.seconds = state["counters"]
        log.info("training resumed", step=self.step, documents=self.documents)

    def _log_window(self, window: list[dict[str, float]]) -> None:
        means = {name: round(sum(w[name] for w in window) / len(window), 4) for name in window[0]}
        self._write({"event": "step", **means})

    def _log_scores(self, name: str, scores: Scores) -> None:
        self._write({"event": name, **asdict(scores)})

    def _write(self, values: dict[str, Any]) -> None:
        line = {
            "step": self.step,
            "documents": self.documents,
            "minutes": round(self.seconds / 60, 2),
            **values,
        }
        with (self.recipe.output / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(line) + "\n")
        log.info(line.pop("event"), **line)


@contextmanager
def _products(precision: str) -> Iterator[None]:
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        yield
    finally:
        matmul.fp32_precision = before


def load_training_data(recipe: Recipe) -> TrainingData:
    """Everything a recipe trains on, the main corpus first, without any sentence of a development set."""
    unseen = dev_texts(recipe.data, recipe.excluded_dev)
    configs = sorted(recipe.corpora, key=lambda c: c.name != recipe.main)
    corpora = tuple(load_corpus(recipe.data, config, unseen=unseen) for config in configs)
    return TrainingData(corpora, plain_paragraphs(recipe.data, recipe.plain, unseen))


def _tokenizer_texts(recipe: Recipe, data: TrainingData) -> list[str]:
    def both(sentences: tuple[Sentence, ...]) -> list[str]:
        return [text for s in sentences for text in (s.text, detokenise(s).text)]

    texts = both(data.corpora[0].sentences) * recipe.tokenizer.main_copies
    for corpus in data.corpora[1:]:
        texts += [s.text for s in corpus.sentences]
    kept = int(len(data.paragraphs) * recipe.tokenizer.plain_share)
    return texts + list(data.paragraphs[:kept])


def _optimiser(model: TrainingModel, config: OptimiserConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.cycles[0].learning_rate, betas=config.betas, fused=True)

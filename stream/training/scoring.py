"""Scores of an exported checkpoint, by the extraction and de-duplication that serve it."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stream.baselines.reading import baseline_extractor, usual_policy
from stream.corpora.document import AnnotatedDocument
from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.model.checkpoint import CONFIG_FILE
from stream.evaluation.runner import Evaluation, evaluate
from stream.generation import Completion, Generator, Prompt
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.training.corpora import load_scored
from stream.training.recipe import Recipe
from stream.training.starting_model import engine_refusal

_PROMPTS = {"cpu": 64, "cuda": 1024}
_DOCUMENTS = 64
_COLLECTED_SECONDS = 0.002
_GRAPHS = ".graphs-"


def score_checkpoint(
    folder: Path, recipe: Recipe, device: torch.device, sample: int | None = None
) -> Evaluation:
    """Score an exported checkpoint on what the main corpus is scored on, as ``padellm evaluate`` does.

    The CPU engine decodes, as in service; torch does on a GPU and for a model that the engine refuses.

    Args:
        folder: The checkpoint.
        recipe: Of the run.
        device: Device of the run.
        sample: About so many sentences, spread over the whole set; default: all.
    """
    documents = load_scored(recipe.data, recipe.used_corpora[0])
    chosen = documents[:: max(1, len(documents) // sample) if sample else 1]
    return asyncio.run(_score(folder, recipe, device, chosen))


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The percentages of ``metrics.jsonl`` and ``padellm train --json``."""
    return {
        "precision": 100 * evaluation.score.precision,
        "recall": 100 * evaluation.score.recall,
        "f1": 100 * evaluation.score.f1,
        "f1_by_label": {label: 100 * score.f1 for label, score in evaluation.by_label.items()},
        "count_accuracy": 100 * evaluation.counts.share,
        "count_accuracy_present": 100 * evaluation.counts_present.share,
    }


async def _score(
    folder: Path, recipe: Recipe, device: torch.device, documents: Sequence[AnnotatedDocument]
) -> Evaluation:
    for left_behind in recipe.output.glob(f"{_GRAPHS}*"):  # by a run that was killed
        shutil.rmtree(left_behind)
    # A checkpoint in training is soon replaced: its graph would only push others out of the user's cache.
    with TemporaryDirectory(dir=recipe.output, prefix=_GRAPHS) as graphs:
        generator: Generator
        policy = usual_policy(recipe.baseline) if recipe.baseline else recipe.ner.policy
        if recipe.baseline or (device.type == "cpu" and _is_served(folder)):
            drafts = not recipe.baseline
            options = EngineOptions(threads=recipe.threads, drafts=drafts, graph_cache=Path(graphs))
            decoder = Decoder.load(folder, options)
            generator = InProcessGenerator(decoder)
        else:
            generator = TorchGenerator.load(folder, device)
        try:
            if recipe.baseline:
                extractor = baseline_extractor(folder, generator, decoder.longest_sequence)
            else:
                extractor = Extractor(generator, PromptTemplate.load(folder))
            labels = recipe.ner.default_labels
            return await evaluate(documents, extractor, labels, policy=policy, in_flight=_DOCUMENTS)
        finally:
            await generator.close()


def _is_served(folder: Path) -> bool:
    return engine_refusal(json.loads((folder / CONFIG_FILE).read_bytes())) is None


class TorchGenerator:
    """A ``Generator`` over a model of transformers: greedy, in batches, without a KV cache.

    Prompts that are sent within two milliseconds are continued together.

    Args:
        model: In evaluation mode, on its device.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._waiting: list[tuple[Prompt, asyncio.Future[Completion]]] = []

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "TorchGenerator":
        """Load a checkpoint: on a GPU in the type it was exported in, on a CPU in float32 like the engine."""
        on_gpu = device.type == "cuda"
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if on_gpu else torch.float32,
            attn_implementation="sdpa" if on_gpu else "eager",
            local_files_only=True,
        )
        return cls(model.to(device).eval())

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt."""
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, answer))
        if len(self._waiting) == 1:
            await asyncio.sleep(_COLLECTED_SECONDS)
            self._run()
        return await answer

    async def ready(self) -> bool:
        """True at any time."""
        return True

    async def close(self) -> None:
        """Nothing is left to release."""

    def _run(self) -> None:
        waiting = sorted(self._waiting, key=lambda each: len(each[0].ids))
        self._waiting.clear()
        size = _PROMPTS[self._model.device.type]
        for start in range(0, len(waiting), size):
            prompts, answers = zip(*waiting[start : start + size], strict=True)
            for answer, completion in zip(answers, continue_greedily(self._model, prompts), strict=True):
                if not answer.done():
                    answer.set_result(completion)


def continue_greedily(model: PreTrainedModel, prompts: Sequence[Prompt]) -> list[Completion]:
    """Greedy continuations of prompts in one batch."""
    head = model.get_output_embeddings()
    ids: list[list[int]] = [[] for _ in prompts]
    log_probs: list[list[float]] = [[] for _ in prompts]
    unfinished = list(range(len(prompts)))
    while unfinished:
        padded, lengths = _pad([(*prompts[n].ids, *ids[n]) for n in unfinished])
        with torch.inference_mode():
            hidden = model.base_model(input_ids=padded.to(model.device), use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(unfinished)), lengths - 1]
            best, tokens = head(last).float().log_softmax(-1).max(-1)
        chosen = dict(zip(unfinished, zip(tokens.tolist(), best.tolist(), strict=True), strict=True))
        for n, (token, log_prob) in chosen.items():
            if token != prompts[n].end_id:
                ids[n].append(token)
                log_probs[n].append(log_prob)
        unfinished = [
            n for n, (token, _) in chosen.items() if not _is_finished(prompts[n], token, len(ids[n]))
        ]
    return [Completion(tuple(i), tuple(p)) for i, p in zip(ids, log_probs, strict=True)]


def _is_finished(prompt: Prompt, token: int, length: int) -> bool:
    return token in {prompt.end_id, *prompt.stop_ids} or length == prompt.max_new_tokens


def _pad(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences padded on the right, where causal attention never looks, and their lengths."""
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, lengths

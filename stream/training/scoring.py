"""The score that a run watches: F1 on what its main corpus is scored on."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stream.aio import all_of
from stream.baselines.reading import baseline_extractor
from stream.contract.messages import Document
from stream.contract.reasons import UNGROUNDED
from stream.engine.decoder import Decoder
from stream.engine.strategy import Strategy
from stream.inference.in_process import InProcessGenerator
from stream.ner.extractor import Extraction
from stream.ner.template import PromptTemplate
from stream.training.corpora import Sentence, load_scored
from stream.training.model import products
from stream.training.recipe import Recipe

_BATCHES = {"cpu": 64, "cuda": 1024}


@dataclass(frozen=True, slots=True)
class Predicted:
    """One mention that the model wrote."""

    label: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of one sentence: a count for each label (None: no count) and its mentions."""

    counts: dict[str, int | None]
    mentions: tuple[Predicted, ...]


def read(
    model: PreTrainedModel, template: PromptTemplate, sentences: Sequence[Sentence], labels: Sequence[str]
) -> list[Reading]:
    """Ask every label of every sentence, then every mention that was counted."""
    label_ids = {label: template.encode_text(template.label_text(label)).ids for label in labels}
    asked = [
        (
            number,
            label,
            template.count_prompt(template.prefix_ids(template.encode_text(s.text).ids), label_ids[label]),
        )
        for number, s in enumerate(sentences)
        for label in labels
    ]
    answers = continue_greedily(model, [prompt.ids for _, _, prompt in asked], 1, template.end_id)
    counts: list[dict[str, int | None]] = [{} for _ in sentences]
    wanted = []
    for (number, label, prompt), (ids, _) in zip(asked, answers, strict=True):
        count = template.parse_count(ids)
        counts[number][label] = count
        wanted += [
            (number, label, template.mention_prompt(prompt, count or 0, k + 1)) for k in range(count or 0)
        ]
    limit = template.config.max_mention_tokens
    written = continue_greedily(model, [prompt.ids for _, _, prompt in wanted], limit, template.end_id)
    mentions: list[list[Predicted]] = [[] for _ in sentences]
    for (number, label, _), (ids, log_prob) in zip(wanted, written, strict=True):
        mentions[number].append(Predicted(label, template.decode_mention(ids), math.exp(log_prob)))
    return [Reading(c, tuple(m)) for c, m in zip(counts, mentions, strict=True)]


def keep_likeliest(mentions: Sequence[Predicted]) -> list[Predicted]:
    """The paper's de-duplication: of one text under several labels the likeliest stays."""
    best: dict[str, float] = {}
    for mention in mentions:
        best[mention.text] = max(mention.score, best.get(mention.text, 0.0))
    return [m for m in mentions if m.score == best[m.text]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Micro-averaged over (label, mention) sets of each sentence; percentages."""

    precision: float
    recall: float
    f1: float
    f1_by_label: dict[str, float]
    count_accuracy: float
    count_accuracy_present: float


def score(
    sentences: Sequence[Sentence],
    readings: Sequence[Reading],
    labels: Sequence[str],
    select: Callable[[Sequence[Predicted]], Sequence[Predicted]] = tuple,
) -> Scores:
    """Compare readings with the sentences' own mentions; ``select`` de-duplicates first."""
    tallies = {label: [0, 0, 0] for label in labels}  # right, written, true
    counted, present = [], []
    for sentence, reading in zip(sentences, readings, strict=True):
        written = {(m.label, m.text) for m in select(reading.mentions)}
        for label in labels:
            spans = [sentence.text[m.start : m.end] for m in sentence.mentions if label in m.phrases]
            found = {text for name, text in written if name == label}
            tally = tallies[label]
            tally[0] += len(found & set(spans))
            tally[1] += len(found)
            tally[2] += len(set(spans))
            counted.append(reading.counts[label] == len(spans))
            if spans:
                present.append(counted[-1])
    right, all_written, true = (sum(t[i] for t in tallies.values()) for i in range(3))
    return Scores(
        _percent(right, all_written),
        _percent(right, true),
        _f1(right, all_written, true),
        {label: _f1(*tally) for label, tally in tallies.items()},
        _percent(sum(counted), len(counted)),
        _percent(sum(present), len(present)),
    )


def continue_greedily(
    model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], limit: int, end_id: int
) -> list[tuple[list[int], float]]:
    """Greedy continuations and their log-probabilities, without a cache."""
    results: list[tuple[list[int], float]] = [([], 0.0) for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    size = _BATCHES[model.device.type]
    head = model.get_output_embeddings()
    for start in range(0, len(order), size):
        open_ones = order[start : start + size]
        for _ in range(limit):
            ids, lengths = _padded([(*prompts[n], *results[n][0]) for n in open_ones])
            with torch.inference_mode():
                hidden = model.base_model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
                last = hidden[torch.arange(len(open_ones)), lengths - 1]
                log_probs, tokens = head(last).float().log_softmax(-1).max(-1)
            still = []
            for n, token, log_prob in zip(open_ones, tokens.tolist(), log_probs.tolist(), strict=True):
                if token != end_id:
                    results[n] = ([*results[n][0], token], results[n][1] + log_prob)
                    still.append(n)
            open_ones = still
            if not open_ones:
                break
    return results


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right padding: causal attention never looks at it."""
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, lengths


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _f1(right: int, written: int, true: int) -> float:
    return 200 * right / (written + true) if written + true else 0.0


def read_with_engine(
    folder: Path, sentences: Sequence[Sentence], labels: Sequence[str], *, threads: int
) -> list[Reading]:
    """What the exported checkpoint of a baseline says of sentences, each asked for all labels.

    Mentions that are not in the text are kept, as ``stream.training.scoring.read`` keeps them.
    """
    return asyncio.run(_read(folder, sentences, labels, threads))


async def _read(
    folder: Path, sentences: Sequence[Sentence], labels: Sequence[str], threads: int
) -> list[Reading]:
    # A checkpoint in training is soon replaced: its graph would only push others out of the user's cache.
    with TemporaryDirectory() as graphs:
        generator = InProcessGenerator(
            Decoder.load(folder, threads=threads, strategy=Strategy.PLAIN, graph_cache=Path(graphs))
        )
        try:
            extractor = baseline_extractor(folder, generator, generator.decoder.longest_sequence)
            asked = [Document(text=sentence.text, labels=list(labels)) for sentence in sentences]
            found = await all_of(map(extractor.extract, asked))
        finally:
            await generator.close()
    return [_reading(one, labels) for one in found]


def _reading(extraction: Extraction, labels: Sequence[str]) -> Reading:
    invented = [one for one in extraction.removed if one.reason == UNGROUNDED]
    found = [Predicted(one.label, one.text, one.score) for one in extraction.entities]
    found += [Predicted(one.label, one.text, one.score) for one in invented]
    return Reading({label: extraction.counts.get(label) for label in labels}, tuple(found))


class Scorer:
    """Scores models of one run, de-duplicated.

    Args:
        recipe: Of the run.
        template: Its prompts.
        device: Where models are read.
    """

    def __init__(self, recipe: Recipe, template: PromptTemplate, device: torch.device) -> None:
        self._recipe = recipe
        self._template = template
        self._device = device
        self._labels = recipe.ner.default_labels

    def model(self, causal: PreTrainedModel, sample: int | None = None) -> Scores:
        """Score a model by plain greedy decoding.

        Args:
            causal: In evaluation mode, on the device.
            sample: About so many sentences, spread over the whole set; default: all.
        """
        sentences = self._sentences(sample)
        with products(self._device, bfloat16=False):
            readings = read(causal, self._template, sentences, self._labels)
        return score(sentences, readings, self._labels, keep_likeliest)

    def checkpoint(self, folder: Path, sample: int | None = None) -> Scores:
        """Score an exported checkpoint; that of a baseline on the engine, as its answers are long.

        Args:
            folder: The checkpoint.
            sample: As for ``model``.
        """
        if self._recipe.baseline:
            sentences = self._sentences(sample)
            readings = read_with_engine(folder, sentences, self._labels, threads=self._recipe.threads)
            return score(sentences, readings, self._labels)
        attention = "sdpa" if self._device.type == "cuda" else "eager"
        causal = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
        )
        return self.model(causal.to(self._device).eval(), sample)

    def _sentences(self, sample: int | None) -> tuple[Sentence, ...]:
        sentences = load_scored(self._recipe.data, self._recipe.used_corpora[0])
        return sentences[:: max(1, len(sentences) // sample) if sample else 1]

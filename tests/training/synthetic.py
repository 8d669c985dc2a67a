"""A small corpus made up by rule, and a recipe small enough to train on it in seconds."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stream.baselines.config import Baseline, BaselineConfig
from stream.baselines.prompts import BaselinePrompts
from stream.ner.config import LabelConfig, NerConfig
from stream.ner.template import PromptTemplate
from stream.training.corpora import PhraseMention, TrainingText
from stream.training.recipe import Recipe
from stream.training.reformulation import Reformulator
from stream.training.tokenizer import END, token_id, train_tokenizer

NAMES = {"PER": ["Ada", "Grace Hopper", "Alan"], "LOC": ["Paris", "New York", "Oslo"]}
PATTERNS = ["{PER} met {PER} in {LOC} .", "{LOC} is large .", "Nobody was there .", "{PER} ( {LOC} ) won ."]


def sentence(
    text: str, *spans: tuple[str, str], inventory: tuple[str, ...] = ("person", "location")
) -> TrainingText:
    """A sentence whose mentions are given as (text, phrase), in text order."""
    mentions, at = [], 0
    for name, phrase in spans:
        at = text.index(name, at)
        mentions.append(PhraseMention(at, at + len(name), (phrase,)))
        at += len(name)
    return TrainingText(text, tuple(mentions), inventory)


def ner_config() -> NerConfig:
    """Two labels, with their short names as aliases."""
    labels = {"person": LabelConfig(aliases=("PER",)), "location": LabelConfig(aliases=("LOC",))}
    return NerConfig(name="synthetic", version="1", labels=labels, default_labels=("person", "location"))


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Annotated rows in the form of the files on disk."""
    rng = random.Random(seed)
    return [_row(f"{seed}-{n}", rng) for n in range(count)]


def write_data(folder: Path, train: int = 50, dev: int = 12) -> Path:
    """A data folder with the corpus ``names``, a held-out set and the plain text ``plain.txt.gz``."""
    corpus = folder / "ner" / "names"
    corpus.mkdir(parents=True)
    write_rows(corpus / "train.jsonl.gz", rows(train, seed=1))
    write_rows(corpus / "dev.jsonl.gz", rows(dev, seed=2))
    (folder / "ner" / "held-out").mkdir()
    write_rows(
        folder / "ner" / "held-out" / "dev.jsonl.gz", [{"id": "1", "text": "Held out .", "entities": []}]
    )
    (folder / "text").mkdir()
    with gzip.open(folder / "text" / "plain.txt.gz", "wt", encoding="utf-8") as plain:
        plain.write("First paragraph of a text .\n\nSecond one , about Paris .\n")
    return folder


def write_rows(path: Path, values: list[dict[str, Any]]) -> None:
    """A gzip file with one JSON object a line."""
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def recipe(data: Path, output: Path, steps: int = 60) -> Recipe:
    """A recipe for ``write_data``'s folder."""
    return Recipe.model_validate(
        {
            "data": data,
            "output": output,
            "main": "names",
            "plain": ["plain.txt.gz"],
            "tokenizer": {"vocabulary": 420},
            "model": {"hidden": 32, "layers": 3, "heads": 2, "feed_forward": 64, "max_positions": 512},
            "losses": {"tagging_layer": 1, "mention_index_layer": 2},
            "training": {"lr_schedule": [{"steps": steps}], "batch_tokens": 256, "warm_up_steps": 5},
            "stages": [{"until": 0.1, "main": 1.0, "plain": 0.3}, {"until": 1.0, "main": 1.0}],
            "ner": ner_config().model_dump(),
            # Few patterns: sentences of the development set are bound to occur in training as well.
            "excluded_dev": ["held-out"],
            "corpora": [{"name": "names", "labels": {"PER": ["person"], "LOC": ["location"]}}],
        }
    )


def tokenizer(vocabulary: int = 420, baseline: Baseline | None = None) -> Tokenizer:
    """A tokenizer trained on the made-up sentences."""
    config = BaselineConfig(format=baseline, ner=ner_config()) if baseline else ner_config()
    return train_tokenizer([row["text"] for row in rows(200)], vocabulary, config)


def template(trained: Tokenizer | None = None) -> PromptTemplate:
    """The prompt template over that tokenizer."""
    trained = trained or tokenizer()
    return PromptTemplate(ner_config(), trained, token_id(trained, END))


def reformulator(baseline: Baseline | None = None) -> Reformulator:
    """Makes trees of the two phrases, in PaDeLLM's format or a baseline's."""
    prompts = template(tokenizer(baseline=baseline))
    return Reformulator(
        prompts, ("person", "location"), BaselinePrompts(prompts, baseline) if baseline else None
    )


def _row(name: str, rng: random.Random) -> dict[str, Any]:
    text, entities = "", []
    for word in rng.choice(PATTERNS).split():
        label = word.strip("{}")
        written = rng.choice(NAMES[label]) if label in NAMES else word
        if label in NAMES:
            place = {"start": len(text), "end": len(text) + len(written)}
            entities.append(place | {"text": written, "label": label})
        text += written + " "
    return {"id": name, "text": text[:-1], "entities": entities}

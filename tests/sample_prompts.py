"""Prompts about the sample documents, to compare decoders of one model token for token."""

import json
from pathlib import Path

import pytest

from stream.bundled import PRETRAINED_ENGLISH, model_folder, sample_documents
from stream.errors import CheckpointError
from stream.generation import Prompt
from stream.ner.template import PromptTemplate

DOCUMENTS_VARIABLE = "EQUALITY_DOCUMENTS"
"""Environment variable: documents about which the pretrained model is asked, 200 for the whole proof."""


def sample_texts() -> list[str]:
    """Texts of the sample documents."""
    lines = sample_documents().read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def sample_prompts(folder: Path, texts: list[str]) -> list[Prompt]:
    """For each text a count prompt, the labels in turn, and its first mention prompt."""
    template = PromptTemplate.load(folder)
    labels = [
        template.encode_text(template.label_text(label)).ids for label in template.config.default_labels
    ]
    prompts = []
    for number, text in enumerate(texts):
        prefix = template.prefix_ids(template.encode_text(text).ids[: template.config.window.tokens])
        count = template.count_prompt(prefix, labels[number % len(labels)])
        prompts += [count, template.mention_prompt(count, 1, 1)]
    return prompts


def pretrained_folder() -> Path:
    """The pretrained model, merged with its base; skips the test where that cannot be had."""
    try:
        return model_folder(Path(PRETRAINED_ENGLISH))
    except CheckpointError as error:
        pytest.skip(f"no pretrained model: {error}")

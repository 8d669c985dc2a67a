"""What all servers of vLLM are asked."""

import pytest

from stream.bundled import model_folder
from stream.generation import Completion, Prompt
from stream.ner.template import PromptTemplate
from tests.vllm.answers import ask_engine


@pytest.fixture(scope="session")
def template() -> PromptTemplate:
    """The prompts of the model."""
    return PromptTemplate.load(model_folder(None))


@pytest.fixture(scope="session")
def asked(template: PromptTemplate) -> list[tuple[Prompt, Completion]]:
    """300 prompts with our engine's answers."""
    return ask_engine(template)

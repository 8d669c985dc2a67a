"""Templates whose tokenizers know the marks of a baseline."""

from stream.baselines.config import Baseline
from stream.ner.template import PromptTemplate
from tests.tiny_model import END_TOKEN, tiny_ner_config, tiny_tokenizer


def marked_template(*baselines: Baseline) -> PromptTemplate:
    """The tiny template, one token a byte, with the marks of some formats."""
    config = tiny_ner_config()
    tokenizer = tiny_tokenizer(config, *baselines)
    return PromptTemplate(config, tokenizer, tokenizer.token_to_id(END_TOKEN))

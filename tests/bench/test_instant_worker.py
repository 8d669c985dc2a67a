"""The model that answers at once."""

import pytest

from stream.bench.instant_worker import InstantGenerator
from stream.contract.messages import Document
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from tests.tiny_model import write_tiny_checkpoint


@pytest.mark.parametrize("text", ["Ann met Bo.", "x", "Ω and more"])
async def test_instant_model_finds_the_first_token_and_nothing_else(tmp_path, text):
    """Each document costs a count prompt a label and one mention prompt, whatever its text."""
    template = PromptTemplate.load(write_tiny_checkpoint(tmp_path))
    asked = []

    class _Recording(InstantGenerator):
        async def generate(self, prompt):
            asked.append(prompt)
            return await super().generate(prompt)

    extraction = await Extractor(_Recording(template), template).extract(Document(text=text))
    assert len(asked) == len(template.config.default_labels) + 1
    found = [entity.text for entity in extraction.entities] + [each.text for each in extraction.removed]
    assert len(found) == 1
    assert not extraction.removed or not text.isascii()  # a token may be half a character

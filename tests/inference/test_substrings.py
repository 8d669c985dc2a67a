"""Grammars of a text's substrings."""

import json

from tokenizers import Tokenizer

from stream.bundled import model_folder
from stream.generation import Prompt
from stream.inference.substrings import Substrings
from stream.ner.template import PromptTemplate


def test_substrings_grammar_is_of_the_prompts_text() -> None:
    """The grammar of a mention is that of the substrings of the text alone; a count has none."""
    folder = model_folder(None)
    template = PromptTemplate.load(folder)
    substrings = Substrings(Tokenizer.from_file(str(folder / "tokenizer.json")))
    text = 'Ada "Byron"\nLovelace lived in Nürnberg.'
    label = template.encode_text("person").ids
    count = template.count_prompt(template.prefix_ids(template.encode_text(text).ids), label)
    start, sub = substrings.grammar(template.mention_prompt(count, 2, 1)).splitlines()
    assert start == "start: SUB"
    assert json.loads(sub.removeprefix("SUB: %regex ")) == {"substring_chars": f" {text}"}
    assert substrings.grammar(count) is None
    assert substrings.grammar(Prompt(count.ids, 1, 1)) is None
    assert substrings.grammar(Prompt(template.prefix_ids(()), 5, 1)) is None

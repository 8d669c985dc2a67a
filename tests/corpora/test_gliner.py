"""GLiNER's JSON."""

import json

import pytest

from stream.corpora import gliner
from stream.corpora.parsing import Options
from stream.errors import ConfigurationError
from tests.corpora.documents import document

ITEM = {"tokenized_text": ["Ada", "of", "Oslo"], "ner": [[0, 2, "person"], [2, 2, "city"]]}
DOCUMENT = document("Ada of Oslo", (0, 11, "person"), (7, 11, "city"), name="data-1")


@pytest.mark.parametrize("indent", [None, 2])
def test_gliner_reads_an_array_or_lines(tmp_path, indent):
    """Spans of tokens, both ends inclusive and nested or not, become offsets; also one item a line."""
    file = tmp_path / "data.json"
    file.write_text(json.dumps([ITEM], indent=indent))
    assert next(gliner.read(file)).document == DOCUMENT
    file.write_text(json.dumps(ITEM))
    assert next(gliner.read(file)).document == DOCUMENT


def test_gliner_writes_what_gliner_reads(tmp_path):
    """The file is one array of items with tokens and spans of tokens."""
    file = tmp_path / "data.json"
    gliner.write([document("Ada of  Oslo", (0, 12, "person"), (8, 12, "city"))], file)
    assert json.loads(file.read_text()) == [ITEM]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (7, "tokenized_text"),
        ({"tokenized_text": ["a", ""], "ner": []}, "tokenized_text"),
        ({"tokenized_text": ["a"]}, '"ner"'),
        ({"tokenized_text": [], "ner": []}, "the text is empty"),
        (ITEM | {"ner": [[0, 3, "person"]]}, "tokens 0 to 3 of 3"),
        (ITEM | {"ner": [[2, 1, "person"]]}, "tokens 2 to 1"),
        (ITEM | {"ner": [[-1, 1, "person"]]}, "tokens -1 to 1"),
        (ITEM | {"ner": [[0, True, "person"]]}, "tokens 0 to true"),
        (ITEM | {"ner": [[0, 1]]}, "[0, 1] is no"),
        (ITEM | {"ner": [[0, 1, ""]]}, '"" is no label'),
    ],
)
def test_gliner_names_items_by_line(tmp_path, row, words):
    """An item that is none has its line and a reason, wherever in the array it stands."""
    file = tmp_path / "data.json"
    file.write_text(f"[\n{json.dumps(ITEM, indent=1)},\n{json.dumps(row)}\n]")
    good, bad = gliner.read(file, Options())
    assert good.document
    assert str(bad.problems[0]).startswith(f"{file}, line {file.read_text().count(chr(10))}: ")
    assert words in bad.problems[0].reason


@pytest.mark.parametrize(
    ("tail", "line"), [("", 3), (" 7", 3), ("] 7", 3), (",\n{", 4), (",\n?", 4), (",\n[" + "1" * 5000, 4)]
)
def test_gliner_names_the_line_where_an_array_breaks(tmp_path, tail, line):
    """A broken array is refused with the line where it breaks."""
    file = tmp_path / "data.json"
    file.write_text(f"\n[\n{json.dumps(ITEM)}{tail}")
    with pytest.raises(ConfigurationError, match=rf"data\.json, line {line}: not JSON"):
        list(gliner.read(file))

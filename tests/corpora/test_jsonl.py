"""Our own JSON Lines."""

import gzip
import json

import pytest

from stream.corpora.document import label_inventory
from stream.corpora.jsonl import read, read_documents
from stream.corpora.parsing import Options
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit

GOOD = {
    "id": "1",
    "text": "😀 Ann in Rome",
    "entities": [{"start": 2, "end": 5, "text": "Ann", "label": "PER"}],
}
OTHER = {"text": "Rome", "entities": [{"start": 0, "end": 4, "text": "Rome", "label": "LOC"}]}


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_jsonl_read_plain_and_compressed(tmp_path, compress):
    """JSON Lines are read alike plain and gzipped, whatever the name, blank lines skipped."""
    file = tmp_path / "data"
    file.write_bytes(compress(f"{json.dumps(GOOD)}\n\n{json.dumps(OTHER)}\n".encode()))
    first, second = read_documents(file)
    assert first.text[first.entities[0].start : first.entities[0].end] == "Ann"
    assert label_inventory([first, second]) == ["PER", "LOC"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", ["line 2"]),
        ('{"text": "x"}', ["line 2", "entities"]),
        ('{"text": "", "entities": []}', ["line 2", "text"]),
        ('{"text": "x", "entities": [{"start": "a"}]}', ["line 2", "entities.0.start"]),
        (json.dumps(GOOD | {"text": "🙂🙂 Ann"}), ["line 2", '"Ann"', "2-5", '" An"']),
        ("\udcff", ["line 2"]),
    ],
)
def test_jsonl_name_file_and_line_of_bad_input(tmp_path, line, words):
    """A line that is no annotated document is refused with file, line and what is wrong."""
    file = tmp_path / "data.jsonl"
    file.write_bytes(f"{json.dumps(GOOD)}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError) as refused:
        list(read_documents(file))
    for word in ["data.jsonl", *words]:
        assert word in str(refused.value)


def test_jsonl_offsets_may_count_utf_16_units(tmp_path):
    """A mention that fits UTF-16 units alone is refused with the option's name, and read with the option."""
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(GOOD | {"entities": [GOOD["entities"][0] | {"start": 3, "end": 6}]}))
    (refused,) = read(file)
    assert 'in UTF-16 units it is "Ann": --offsets utf-16' in refused.problems[0].reason
    (parsed,) = read(file, Options(offsets=OffsetUnit.UTF_16))
    assert parsed.document.entities[0].start == 2


def test_jsonl_name_a_file_that_cannot_be_read(tmp_path):
    """A missing file and a broken archive are named."""
    with pytest.raises(ConfigurationError, match=r"none\.jsonl"):
        list(read_documents(tmp_path / "none.jsonl"))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 100)[:-20])
    with pytest.raises(ConfigurationError, match=r"broken\.jsonl\.gz"):
        list(read_documents(broken))

"""doccano's JSON Lines."""

import json

import pytest

from stream.corpora import doccano
from stream.corpora.parsing import Options
from stream.offsets import OffsetUnit
from tests.corpora.documents import document

DOCUMENT = document("😀 Ada", (2, 5, "PER"), name="7")


@pytest.mark.parametrize(
    "row",
    [
        {"id": 7, "text": "😀 Ada", "label": [[2, 5, "PER"]], "Comments": []},
        {"id": 7, "text": "😀 Ada", "labels": [[2, 5, "PER"]]},
        {"id": "7", "data": "😀 Ada", "label": [[2, 5, "PER"]]},
        {
            "id": 7,
            "text": "😀 Ada",
            "relations": [],
            "entities": [{"id": 1, "label": "PER", "start_offset": 2, "end_offset": 5}],
        },
    ],
)
def test_doccano_reads_what_its_versions_export(tmp_path, row):
    """All shapes of the same annotation are the same document."""
    file = tmp_path / "export.jsonl"
    file.write_text(f"{json.dumps(row)}\n\n")
    (reading,) = doccano.read(file)
    assert reading.document == DOCUMENT


def test_doccano_writes_what_it_imports(tmp_path):
    """A line is an object with text and label."""
    file = tmp_path / "import.jsonl"
    doccano.write([DOCUMENT], file)
    assert json.loads(file.read_text()) == {"id": "7", "text": "😀 Ada", "label": [[2, 5, "PER"]]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("7", "7 is no object"),
        ("{", "not JSON at column 2"),
        ('{"text": "a"}', "there is none"),
        ('{"text": "a", "label": [], "entities": []}', "label and entities"),
        ('{"text": "", "label": []}', "the text is empty"),
        ('{"text": 7, "label": []}', "7 is no text"),
        ('{"text": "\\ud800", "label": []}', "is no text"),
        ('{"id": [], "text": "a", "label": []}', "[] is no id"),
        ('{"text": "a", "label": ["positive"]}', '"positive" is neither'),
        ('{"text": "a", "label": [[0, 2, "A"]]}', "at 0-2, which is no place in a text of 1"),
        ('{"text": "a", "label": [[1, 1, "A"]]}', "at 1-1"),
        ('{"text": "a", "label": [[-1, 1, "A"]]}', "at -1-1"),
        ('{"text": "a", "label": [[0, 1.0, "A"]]}', "1.0 are not"),
        ('{"text": "a", "label": [[0, 1, 7]]}', "7 is no label"),
        ('{"text": "a", "entities": [{"label": "A"}]}', "null to null"),
    ],
)
def test_doccano_says_what_is_wrong_with_a_line(tmp_path, row, words):
    """A line that is no annotated text has a reason."""
    file = tmp_path / "export.jsonl"
    file.write_text(row)
    (reading,) = doccano.read(file)
    assert words in reading.problems[0].reason
    assert reading.problems[0].place.line == 1


EMOJI = "😀 Marta drives to Lund"


@pytest.mark.parametrize(
    ("unit", "spans"),
    [
        (OffsetUnit.UTF_16, [[3, 8, "PER"], [19, 23, "LOC"]]),
        (OffsetUnit.UTF_8, [[5, 10, "PER"], [21, 25, "LOC"]]),
        (OffsetUnit.CODE_POINTS, [[2, 7, "PER"], [18, 22, "LOC"]]),
        (None, [[2, 7, "PER"], [18, 22, "LOC"]]),
    ],
)
def test_doccano_reads_offsets_of_the_unit_named(tmp_path, unit, spans):
    """Offsets of the unit that is named, code points by default, become code points."""
    file = tmp_path / "export.jsonl"
    file.write_text(json.dumps({"text": EMOJI, "label": spans}))
    (parsed,) = doccano.read(file, Options(offsets=unit))
    assert parsed.document == document(EMOJI, (2, 7, "PER"), (18, 22, "LOC"))


@pytest.mark.parametrize(
    ("unit", "span", "words"),
    [
        (None, [3, 8], '"arta " in code points and "Marta" in UTF-16 units: name the unit (--offsets)'),
        (None, [19, 23], 'of 22 code points; in UTF-16 units it is "Lund": --offsets utf-16'),
        (OffsetUnit.UTF_16, [1, 8], "parts a character in two (offsets are UTF-16 units)"),
        (OffsetUnit.UTF_16, [19, 24], "no place in a text of 23 UTF-16 units"),
        (OffsetUnit.UTF_8, [2, 10], "parts a character in two (offsets are UTF-8 bytes)"),
    ],
)
def test_doccano_refuses_offsets_of_another_unit(tmp_path, unit, span, words):
    """A span that makes sense in another unit alone is a problem, as is one that parts a character."""
    file = tmp_path / "export.jsonl"
    file.write_text(json.dumps({"text": EMOJI, "label": [[*span, "X"]]}))
    (parsed,) = doccano.read(file, Options(offsets=unit))
    assert words in parsed.problems[0].reason

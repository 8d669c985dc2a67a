"""Texts of files."""

import gzip
import json

import pytest

from stream.annotation.sources import Selection, texts_of
from stream.errors import ConfigurationError


def read(file, *texts, **options):
    """Id, field and text of each text of a file, or its problem."""
    found = texts_of(file, Selection(texts, **options))
    return [(one.id, one.field, one.problem or one.text) for one in found]


def write(folder, name, content):
    """A file, gzipped where its name says so."""
    raw = content if isinstance(content, bytes) else content.encode()
    file = folder / name
    file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return file


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
def test_sources_read_fields_of_json_lines(tmp_path, name):
    """Each field that is pointed at is a text; the id comes from its place or else is file and row."""
    rows = [{"nr": 7, "a": {"b": "Ada"}, "c": "Eva"}, {"a": {"b": "Zoë"}, "c": None}]
    file = write(tmp_path, name, "\n".join(map(json.dumps, rows)))
    assert read(file, "/a/b", "/c", id="/nr") == [
        ("7", "/a/b", "Ada"),
        ("7", "/c", "Eva"),
        ("in-2", "/a/b", "Zoë"),
    ]


def test_sources_name_what_is_no_text(tmp_path):
    """A line without the text is a problem that says why, and the lines after it are read."""
    file = write(tmp_path, "in.jsonl", '{"text": 7}\nnot JSON\n{"txt": "x"}\n\n{"id": "d", "text": "Ada"}\n')
    *bad, good = read(file)
    assert good == ("d", None, "Ada")
    assert ["is a number" in bad[0][2], "not JSON" in bad[1][2], "finds nothing" in bad[2][2]] == [True] * 3


@pytest.mark.parametrize(("name", "delimiter"), [("in.csv", ","), ("in.csv", ";"), ("in.tsv.gz", "\t")])
def test_sources_read_columns_of_csv(tmp_path, name, delimiter):
    """Columns are read by their names; a cell may hold line ends, and a blank one is no text."""
    content = "\ufeffid,note,other\n1,'Ada\nLovelace',x\n2,,y\n3,Eva,z\n".replace("'", '"')
    file = write(tmp_path, name, content.replace(",", delimiter))
    assert read(file, "note") == [("1", None, "Ada\nLovelace"), ("3", None, "Eva")]
    assert read(file, "note", "other", id="other")[:2] == [
        ("x", "note", "Ada\nLovelace"),
        ("x", "other", "x"),
    ]


def test_sources_read_columns_of_parquet(tmp_path):
    """Columns of Parquet are read by their names; null is no text, and another type is a problem."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"id": [1, 2, 3], "note": ["Ada", None, "Eva"], "n": [1.5, 2.5, 3.5]})
    file = tmp_path / "in.parquet"
    parquet.write_table(table, file)
    assert read(file, "note") == [("1", None, "Ada"), ("3", None, "Eva")]
    assert "float, not a string" in read(file, "n")[0][2]


def test_sources_read_plain_text_by_lines_or_whole(tmp_path):
    """A line of plain text is a document, or the whole file is one."""
    file = write(tmp_path, "notes.txt", b"Ada\r\n\n Eva \n\xff\n")
    assert [each[:2] for each in read(file)] == [("notes-1", None), ("notes-3", None), ("notes-4", None)]
    assert [each[2] for each in read(file)] == ["Ada", " Eva ", "not UTF-8 text: invalid start byte"]
    whole = write(tmp_path, "book.txt", "One.\nTwo.\n")
    assert read(whole, whole_files=True) == [("book.txt", None, "One.\nTwo.\n")]


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "missing.csv"])
def test_sources_name_the_columns_that_are_there(tmp_path, name):
    """A missing column or file ends the run with a message that names what is there."""
    if name == "in.csv":
        write(tmp_path, name, "id,note\n1,Ada\n")
    elif name == "in.parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table({"id": [1], "note": ["Ada"]}), tmp_path / name)
    with pytest.raises(ConfigurationError, match=r"it has id, note|No such file"):
        read(tmp_path / name, "body")

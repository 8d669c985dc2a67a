"""Documents in files."""

import gzip
import json
import os
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Document
from stream.errors import ConfigurationError
from stream.kafka.records import count_records, read_records


def _file(tmp_path, content: bytes, name: str = "documents.jsonl") -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def test_records_of_json_lines_are_keyed_by_document_id(tmp_path):
    """Every JSON line becomes a document, keyed by its id where it has one; blank lines do not count."""
    lines = b'{"id": "a", "text": "one", "labels": ["person"]}\n\n{"text": "two"}\n'
    first, second = read_records(_file(tmp_path, lines))
    assert (first.key, json.loads(first.value)) == (b"a", {"id": "a", "text": "one", "labels": ["person"]})
    assert (second.key, second.text) == (None, "two")


def test_records_of_plain_text_are_numbered_by_line(tmp_path):
    """Every line of plain text becomes a document with an id of file and line."""
    records = list(read_records(_file(tmp_path, "Ann in Köln\r\n\nBob\n".encode(), "news.txt")))
    assert [(record.key, record.text) for record in records] == [
        (b"news.txt-1", "Ann in Köln"),
        (b"news.txt-3", "Bob"),
    ]


def test_records_of_a_gzip_file_are_those_of_its_content(tmp_path):
    """A gzip file is unpacked, whatever its name."""
    packed = gzip.compress(b'{"id": "a", "text": "one"}\n')
    assert [record.text for record in read_records(_file(tmp_path, packed, "documents"))] == ["one"]


def test_records_of_a_pipe_are_not_used_up_by_counting(tmp_path):
    """What can be read only once is not counted, so that its documents are still there to be sent."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert count_records(str(pipe)) is None
    writer = threading.Thread(target=pipe.write_bytes, args=(b"Ann met Bob.\n",))
    writer.start()
    assert [record.text for record in read_records(str(pipe))] == ["Ann met Bob."]
    writer.join()


@pytest.fixture
def open_stdin(monkeypatch):
    """The write end of a pipe that is standard input."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr("sys.stdin", stdin)
        yield pipe


@pytest.mark.parametrize(("first", "text"), [(b"one\n", "one"), (b'{"text": "one"}\n', "one")])
def test_records_of_an_open_pipe_come_line_by_line(open_stdin, first, text):
    """A line of standard input is a record while the pipe stays open for more."""
    records = read_records("-")
    open_stdin.write(first)
    assert next(records).text == text
    open_stdin.write(first.replace(b"one", b"two"))
    assert next(records).text == "two"


def test_records_of_an_open_pipe_come_line_by_line_from_gzip_too(open_stdin):
    """A line that a packing program has flushed is a record while the pipe stays open."""
    packer = zlib.compressobj(wbits=31)
    records = read_records("-")
    for text in ("one", "two"):
        open_stdin.write(packer.compress(f"{text}\n".encode()) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert next(records).text == text


def test_records_of_stdin_are_named_after_it(open_stdin):
    """``-`` is standard input, and ids say so."""
    open_stdin.write(b"one\ntwo")
    open_stdin.close()
    assert [record.key for record in read_records("-")] == [b"stdin-1", b"stdin-2"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("\ufeffAda\r\nKim\r\n", ["Ada", "Kim"]),
        ("\ufeff\n\ufeffAda\n", ["Ada"]),
        ('\ufeff{"text": "Ada"}\r\n\ufeff{"text": "Kim"}', ["Ada", "Kim"]),
        ('\ufeff[\r\n{"text": "Ada"}\r\n]\r\n', ["Ada"]),
        ("A\ufeffda\rKim\n", ["A\ufeffda\rKim"]),
    ],
)
def test_records_hold_no_byte_order_mark_and_no_line_end(tmp_path, content, texts):
    """A byte order mark before a line and line ends of both kinds are no part of a text, in any layout."""
    assert [record.text for record in read_records(_file(tmp_path, content.encode()))] == texts


@pytest.mark.parametrize(
    "content",
    [
        '[\n  {"id": "a", "text": "one"},\n  {"text": "two"}\n]\n',
        '[{"id": "a", "text": "one"}, {"text": "two"}]',
    ],
)
def test_records_of_a_json_array_are_its_items(tmp_path, content):
    """A JSON array gives its items as documents, however it is laid out."""
    records = list(read_records(_file(tmp_path, content.encode(), "array.json")))
    assert [(record.key, record.text) for record in records] == [(b"a", "one"), (None, "two")]


@pytest.mark.parametrize("content", ["[]", "[ ]\n", "[\n]"])
def test_records_of_an_empty_array_are_none(tmp_path, content):
    """An array without items gives no documents."""
    assert list(read_records(_file(tmp_path, content.encode()))) == []


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('[{"text": "one"}, {"txt": "two"}]', r"item 2, is not a document: text: Field required"),
        ('["one", "two"]', r"item 1, is not a document"),
        ('[\n{"text": "one"}', r"a JSON array, is not a document: Invalid JSON"),
    ],
)
def test_records_refuse_a_bad_array_by_item(tmp_path, content, place):
    """An array with an item that is no document, or without an end, is refused; the item is named."""
    with pytest.raises(ConfigurationError, match=rf"array\.json, {place}"):
        list(read_records(_file(tmp_path, content.encode(), "array.json")))


@pytest.mark.parametrize(
    "line", ["[1] A footnote.", "[Applause] Thank you.", "[ ] buy milk", "[[Ada]] wrote."]
)
def test_records_take_text_in_brackets_for_text(tmp_path, line):
    """Plain text may begin with a bracket."""
    assert [record.text for record in read_records(_file(tmp_path, line.encode()))] == [line]


def test_records_refuse_a_broken_archive(tmp_path):
    """A gzip file without its end is named, with the reason."""
    packed = gzip.compress(b'{"text": "one"}\n' * 100)[:-10]
    with pytest.raises(ConfigurationError, match=r"documents\.jsonl cannot be read: .*end-of-stream"):
        list(read_records(_file(tmp_path, packed)))


@pytest.mark.parametrize(
    "line", ['{"text": ""}', '{"txt": "x"}', "{", "[]", '{"text": 1}', '{"text": "x", "more": 1}']
)
def test_records_refuse_a_bad_line_by_number(tmp_path, line):
    """A line that is no document is refused, with its number and the way to send it all the same."""
    content = f'{{"text": "good"}}\n{line}\n'.encode()
    with pytest.raises(ConfigurationError, match=r"documents\.jsonl, line 2, is not a document.*--raw"):
        list(read_records(_file(tmp_path, content)))


def test_records_in_raw_mode_are_the_lines(tmp_path):
    """Raw lines are sent byte for byte, empty ones too, without a key."""
    records = list(read_records(_file(tmp_path, b"{\n\n\xff\n"), raw=True))
    assert [(record.key, record.value) for record in records] == [(None, b"{"), (None, b""), (None, b"\xff")]


def test_records_of_a_missing_file_name_it(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(ConfigurationError, match="nowhere cannot be read: No such file"):
        list(read_records(str(tmp_path / "nowhere")))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=5))
def test_records_keep_any_text(tmp_path_factory, texts):
    """Whatever Unicode a document's text holds, the record's value holds it again."""
    documents = [Document(id=str(number), text=text) for number, text in enumerate(texts)]
    content = "\n".join(document.model_dump_json() for document in documents).encode()
    records = read_records(_file(tmp_path_factory.mktemp("any"), content))
    assert [Document.model_validate_json(record.value) for record in records] == documents

"""``padellm extract``."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.contract.record import Record
from stream.errors import BadDocument
from stream.settings import Settings
from stream.worker.codec import decode_document
from tests.tiny_model import write_tiny_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint's folder."""
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


def test_extract_prints_one_json_object(model):
    """With --json the last line is the whole extraction as one object."""
    options = ["--model", model, "--labels", "PER,LOC", "--json"]
    result = CliRunner().invoke(main, ["extract", "Ann in Rome", *options])
    assert result.exit_code == 0, result.output
    extraction = json.loads(result.stdout.splitlines()[-1])
    assert extraction["labels"] == ["PER", "LOC"]
    assert extraction["coverage"]["characters"] == 11
    assert set(extraction) == {"entities", "removed", "coverage", "labels", "counts", "timings", "model"}


def test_extract_reads_stdin(model):
    """A dash reads the text from stdin, and people see it back."""
    result = CliRunner().invoke(main, ["extract", "-", "--model", model], input="Ann in [Rome]\n")
    assert result.exit_code == 0, result.output
    assert "Ann in [Rome]" in result.stdout


@pytest.mark.parametrize(
    ("argument", "stdin"), [("-", b"\xef\xbb\xbfAnn\r\nBob\r\n"), ("\ufeffAnn\r\nBob", b"")]
)
def test_extract_takes_no_byte_order_mark_for_text(model, argument, stdin):
    """A byte order mark before a text and the last line end are no part of it; other line ends are."""
    options = ["--model", model, "--labels", "PER", "--json"]
    result = CliRunner().invoke(main, ["extract", argument, *options], input=stdin)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["coverage"]["characters"] == len("Ann\r\nBob")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", [], "text"),
        ("x", ["--labels", "PER,,LOC"], "--labels"),
        ("x", ["--labels", "{broken"], "--labels"),
        ("x", ["--model", "/nowhere"], "/nowhere"),
    ],
)
def test_extract_says_what_is_wrong(text, options, words):
    """A mistake is one line on stderr that names it, and exit status 1."""
    result = CliRunner().invoke(main, ["extract", text, *options])
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Ann", ["PER", "per "]),
        ("Ann", ["x" * 257]),
        ("Ann", {"PER": "x" * 257}),
        ("Ann", [f"label {n}" for n in range(65)]),
        ("Ann", [" "]),
        ("Ann", []),
        (" \n", ["PER"]),
    ],
)
def test_extract_refuses_what_a_worker_refuses(text, labels):
    """Text and labels that are a dead letter in a worker are refused here, in the same words."""
    value = json.dumps({"text": text, "labels": labels}).encode()
    with pytest.raises(BadDocument) as refused:
        decode_document(Record("documents", 0, 0, value=value), Settings())
    result = CliRunner().invoke(main, ["extract", text, "--labels", json.dumps(labels)])
    assert result.exit_code == 1
    assert str(refused.value) in result.stderr

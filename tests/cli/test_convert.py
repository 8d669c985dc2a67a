"""``padellm convert``."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main

COLUMNS = "Ada B-PER\nin O\nOslo B-LOC\n\nBo I-PER\n\nBo B-PER\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with three sentences in columns, the second of which is bad."""
    (tmp_path / "names.conll").write_text(COLUMNS)
    return tmp_path


def convert(*arguments, status=0):
    """The result of the command, which must end with this status."""
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def test_convert_tells_formats_by_endings(folder):
    """Endings tell formats; people get totals, and every bad document with its place on stderr."""
    result = convert(folder / "names.conll", folder / "names.jsonl", "--skip-bad")
    assert (
        result.stdout
        == f"{folder / 'names.jsonl'}: 2 documents, 3 entities (PER 2, LOC 1); 1 documents skipped\n"
    )
    assert result.stderr.startswith(f"{folder / 'names.conll'}, line 5: I-PER continues no entity")
    first = json.loads((folder / "names.jsonl").read_text().splitlines()[0])
    assert first["entities"][1] == {"start": 7, "end": 11, "text": "Oslo", "label": "LOC"}


def test_convert_prints_one_json_object(folder):
    """With --json the last line holds the totals and every problem."""
    result = convert(folder / "names.conll", folder / "out.json", "--to", "gliner", "--skip-bad", "--json")
    summary = json.loads(result.stdout.splitlines()[-1])
    (problem,) = summary.pop("problems")
    assert summary == {"documents": 2, "entities": 3, "labels": {"PER": 2, "LOC": 1}, "skipped": 1}
    assert (problem["file"], problem["line"]) == (str(folder / "names.conll"), 5)
    assert "I-PER" in problem["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out.jsonl"], "names.conll, line 5: I-PER"),
        (["out.json"], "--to"),
        (["out.jsonl", "--to", "xml"], "no format xml"),
        (["out.jsonl", "--from", "doccano"], "names.conll, line 1: not JSON"),
        (["out.jsonl", "--skip-bad", "--labels", "ORG"], "no document"),
        (["nowhere/out.jsonl", "--skip-bad"], "cannot be written"),
        (["out.jsonl", "--columns", "2"], "--columns 2: give the token's column and then the tag's"),
        (["out.jsonl", "--columns", "0,1"], "--columns 0,1: give"),
        (["out.jsonl", "--columns", "1,x"], "--columns 1,x: give"),
        (["out.jsonl", "--offsets", "utf-16"], "--offsets does not apply to conll"),
        (["out.jsonl", "--from", "gliner", "--columns", "1,2"], "--columns does not apply to gliner"),
    ],
)
def test_convert_says_what_is_wrong(folder, arguments, words):
    """A conversion that cannot be ends with status 1, the reason, and no file."""
    result = convert(folder / "names.conll", folder / arguments[0], *arguments[1:], status=1)
    assert result.stderr.startswith("padellm: ")
    assert words in result.stderr
    assert not (folder / arguments[0]).exists()


def test_convert_reports_nested_entities_left_out(folder):
    """Entities that --nested outermost leaves out are counted on stderr."""
    row = {"text": "Bank of Oslo", "label": [[0, 12, "ORG"], [8, 12, "LOC"]]}
    (folder / "bank.jsonl").write_text(json.dumps(row))
    result = convert(folder / "bank.jsonl", folder / "a.bioes", "--from", "doccano", "--nested", "outermost")
    assert result.stderr == "1 entities within others were left out\n"
    assert (folder / "a.bioes").read_text() == "Bank\tB-ORG\nof\tI-ORG\nOslo\tE-ORG\n\n"


def test_convert_reads_the_columns_and_the_offsets_named(folder):
    """--columns names the token's and the tag's column, --offsets the unit of the file's offsets."""
    (folder / "de.tsv").write_text("1\tAda\tB-PER\tO\n2\tlacht\tO\tO\n")
    convert(folder / "de.tsv", folder / "de.jsonl", "--from", "conll", "--columns", "2,3")
    (folder / "out.jsonl").write_text(json.dumps({"text": "😀 Ada", "label": [[3, 6, "PER"]]}))
    convert(folder / "out.jsonl", folder / "utf.jsonl", "--from", "doccano", "--offsets", "utf-16")
    for name in ("de", "utf"):
        (entity,) = json.loads((folder / f"{name}.jsonl").read_text())["entities"]
        assert entity["text"] == "Ada"


def test_convert_allows_labels_with_commas(folder):
    """--labels takes a JSON list, for labels that hold a comma."""
    row = {"text": "Ada", "label": [[0, 3, "person, real"]]}
    (folder / "ada.jsonl").write_text(json.dumps(row))
    arguments = [folder / "ada.jsonl", folder / "out.jsonl", "--from", "doccano", "--labels"]
    convert(*arguments, '["person, real"]')
    convert(*arguments, "person, real", status=1)

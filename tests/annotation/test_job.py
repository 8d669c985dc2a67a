"""Annotation of files, interrupted and not."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.annotation.job import AnnotationTask, annotate_texts
from stream.annotation.partial_output import PartialOutput
from stream.contract.messages import Coverage, Entity
from stream.corpora.formats import FORMATS, format_of
from stream.corpora.jsonl import read_documents
from stream.corpora.parsing import DEFAULTS
from stream.errors import ConfigurationError, InferenceRejected, InferenceUnavailable
from stream.ner.extractor import Extraction
from tests.tiny_model import write_tiny_checkpoint


class FirstWord:
    """Finds the first word of a text; the longer a text, the later; a text may order errors."""

    def __init__(self) -> None:
        self.asked = []

    async def extract(self, document, *, sure=None):
        """One entity."""
        self.asked.append(document.text)
        await asyncio.sleep(len(document.text) % 7 / 1000)
        if "REJECT" in document.text:
            raise InferenceRejected("no")
        if "GONE" in document.text:
            raise InferenceUnavailable("the model is gone")
        word = document.text.split()[0]
        start = document.text.index(word)
        entity = Entity(
            text=word, label="person", start=start, end=start + len(word), score=0.5, count_score=0.5
        )
        return Extraction([entity], [], Coverage(windows=1, characters=1), ["person"], {}, {})


def annotate(files, out, *, skip_bad=False, extractor=None, **options):
    """Run a task over the extractor; returns the report and the texts that were asked."""
    extractor = extractor or FirstWord()
    task = AnnotationTask(files, skip_bad=skip_bad, **options)

    async def run():
        with PartialOutput(out, format_of(out, "to"), task.question(), skip_bad=skip_bad) as output:
            return await annotate_texts(task, extractor, output, lambda _: None)

    return asyncio.run(run()), extractor.asked


@pytest.fixture
def texts(tmp_path):
    """Texts of different length in a file."""
    file = tmp_path / "in.jsonl"
    rows = [{"id": f"d{number}", "text": f"Ada{number} " + "x" * (number % 5)} for number in range(30)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_job_writes_every_text_once_and_in_order(texts, tmp_path):
    """However long each takes, texts are written in their order, with their entities and scores."""
    report, _ = annotate([texts], tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"d{number}" for number in range(30)]
    expected = {"start": 0, "end": 5, "text": "Ada10", "label": "person", "score": 0.5}
    assert lines[10]["entities"] == [expected]
    assert (report.texts, report.entities, report.problems) == (30, 30, [])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@given(cut=st.floats(0, 1))
def test_job_goes_on_where_it_was_cut(tmp_path_factory, cut):
    """Wherever the lines end after a kill, the next run asks for the rest alone; the output is the same."""
    folder = tmp_path_factory.mktemp("cut")
    file, out = folder / "in.txt", folder / "out.jsonl"
    file.write_text("".join(f"Zoë{number} wrote\n" for number in range(12)))
    annotate([file], out)
    whole = out.read_bytes()
    out.unlink()
    kept = whole[: int(cut * len(whole))]
    with PartialOutput(out, FORMATS["jsonl"], AnnotationTask([file]).question(), skip_bad=False):
        (folder / "out.jsonl.partial").write_bytes(kept)
    report, asked = annotate([file], out)
    assert out.read_bytes() == whole
    assert (report.before, len(asked)) == (kept.count(b"\n"), 12 - kept.count(b"\n"))


class Unsure(FirstWord):
    """Finds nobody in any text, and is less sure of the place."""

    async def extract(self, _document, *, sure=None):
        """No entity under the labels with enough certainty."""
        names = [name for name, certainty in (("person", 0.9), ("place", 0.7)) if certainty >= sure]
        return Extraction([], [], Coverage(windows=1, characters=1), names, dict.fromkeys(names, 0), {})


def test_job_keeps_the_labels_that_the_model_is_sure_of(texts, tmp_path):
    """A training set names for each text the labels that the model is sure of."""
    annotate([texts], tmp_path / "out.jsonl", extractor=Unsure(), sure=0.8)
    documents = list(read_documents(tmp_path / "out.jsonl"))
    assert {document.labels for document in documents} == {("person",)}


@pytest.mark.parametrize("name", ["out.conll", "out.jsonl.gz", "out.bioes"])
def test_job_writes_the_format_of_the_ending(texts, tmp_path, name):
    """The output has the format that its ending names."""
    annotate([texts], tmp_path / name)
    documents = list(format_of(tmp_path / name, "to").read(tmp_path / name, DEFAULTS))
    assert len(documents) == 30
    assert all(each.document.entities[0].label == "person" for each in documents)


def test_job_bad_text_ends_the_run_or_is_left_out(tmp_path):
    """A bad text is named with its place; skipped, it is in the report and not in the output."""
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"text": "Ada wrote"}\n{"text": 7}\n{"text": "Eva REJECT"}\n{"text": "Zoe wrote"}\n')
    with pytest.raises(ConfigurationError, match=r"in.jsonl, line 2: /text is a number.*--skip-bad"):
        annotate([file], out)
    report, asked = annotate([file], out, skip_bad=True)
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["Ada wrote", "Zoe wrote"]
    assert ["line 2" in report.problems[0], "line 3" in report.problems[1]] == [True, True]
    assert (report.before, "Ada wrote" in asked) == (1, False)


def test_job_goes_on_after_the_model_was_gone(tmp_path):
    """When the model goes away the lines so far stay, and the next run adds the others."""
    file, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    file.write_text("".join(f"Ada{number}\n" for number in range(5)) + "Eva GONE\n")

    class Mended(FirstWord):
        async def extract(self, document, *, sure=None):
            mended = document.text.replace("GONE", "x")
            return await super().extract(document.model_copy(update={"text": mended}))

    with pytest.raises(InferenceUnavailable):
        annotate([file], out)
    report, _ = annotate([file], out, extractor=Mended())
    assert (report.before, report.texts, len(out.read_text().splitlines())) == (5, 1, 6)


def test_job_names_a_file_that_is_not_there(tmp_path):
    """A missing file is an error that names it, before anything is written."""
    with pytest.raises(ConfigurationError, match=r"none\.txt cannot be read"):
        annotate([tmp_path / "none.txt"], tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_job_refuses_lines_of_another_run(texts, tmp_path):
    """Lines of other options or files are not continued, and two runs at once do not mix."""
    out = tmp_path / "out.jsonl"
    with PartialOutput(out, FORMATS["jsonl"], AnnotationTask([texts]).question(), skip_bad=False) as output:
        output.add({"id": "d0", "text": "Ada0", "entities": []})
        with pytest.raises(ConfigurationError, match="another run writes"):
            annotate([texts], out)
    with pytest.raises(ConfigurationError, match="part of another run"):
        annotate([texts], out, threshold=0.5)


def test_job_command_killed_goes_on_without_a_gap_or_a_repeat(tmp_path):
    """`padellm annotate` that is killed and started again writes what an undisturbed run writes."""
    model = write_tiny_checkpoint(tmp_path / "model")
    file = tmp_path / "in.txt"
    file.write_text("".join(f"Ada{number} wrote to Charles.\n" for number in range(300)))

    def start(out):
        command = [sys.executable, "-m", "stream.cli", "annotate", str(file), "-o", str(out)]
        environment = {**os.environ, "PADELLM_MODEL": str(model)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    undisturbed, killed = start(tmp_path / "whole.jsonl"), start(tmp_path / "out.jsonl")
    partial = tmp_path / "out.jsonl.partial"
    deadline = time.monotonic() + 90
    while not (partial.exists() and partial.stat().st_size):
        assert killed.poll() is None, killed.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=90)
    assert partial.exists()
    assert start(tmp_path / "out.jsonl").communicate(timeout=180)[0].endswith(b"0 texts skipped\n")
    undisturbed.communicate(timeout=180)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_job_zipped_output_is_a_gzip_file(texts, tmp_path):
    """An output whose name ends in .gz is gzipped."""
    annotate([texts], tmp_path / "out.jsonl.gz")
    assert len(gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).splitlines()) == 30


def test_job_snippet_of_the_page_runs(tmp_path, monkeypatch, capsys):
    """The program of docs/files.md annotates a file."""
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"<!-- snippet: annotate -->\n```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADELLM_MODEL", str(write_tiny_checkpoint(tmp_path / "model")))
    row = {"ticket": 7, "subject": "Ada", "body": "wrote"}
    (tmp_path / "tickets.jsonl").write_text(json.dumps(row))
    exec(program, {})
    assert capsys.readouterr().out.startswith("2 texts, ")
    lines = [json.loads(line) for line in (tmp_path / "entities.jsonl").read_text().splitlines()]
    assert [(line["id"], line["field"]) for line in lines] == [("7", "/subject"), ("7", "/body")]

"""``padellm bench serve`` and ``soak`` on a real Kafka and a real Triton."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.local.triton import why_unavailable
from tests.tiny_model import write_tiny_checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.skipif(why_unavailable() is not None, reason="no Triton")]


def test_bench_serve_measures_engine_triton_and_kafka_in_one_run(tmp_path, monkeypatch):
    """Every way has its rate and latencies; a broker that the environment names is left alone."""
    monkeypatch.setenv("BROKER", "127.0.0.1:1")
    monkeypatch.setenv("PADELLM_TRITON_URL", "127.0.0.1:1")
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(f"Ann met Bo in Rome, time {number}." for number in range(40)))
    options = [
        "--documents",
        str(documents),
        "--model",
        str(folder),
        "--rounds",
        "1",
        "--rate",
        "40",
        "--json",
    ]
    result = CliRunner().invoke(main, ["bench", "serve", *options])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert list(found) == ["engine", "triton", "kafka"]
    for figures in found.values():
        assert set(figures) == {"documents_per_second", "p50_ms", "p99_ms"}
        assert figures["documents_per_second"] > 0
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_bench_soak_watches_the_memory_of_every_part(tmp_path, monkeypatch):
    """Documents go round until so many are events; each part of the stack has its memory and growth."""
    monkeypatch.setenv("BROKER", "127.0.0.1:1")
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    documents = tmp_path / "annotated.jsonl"
    annotated = {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 3, "text": "Ann", "label": "PER"}]}
    documents.write_text(json.dumps(annotated))
    options = ["--documents", str(documents), "--model", str(folder), "--limit", "120", "--json"]
    result = CliRunner().invoke(main, ["bench", "soak", *options])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["documents"] == 120
    assert set(found["processes"]) == {"kafka", "triton", "triton's engine", "worker"}
    for figures in found["processes"].values():
        assert 10 < figures["first_mib"] <= figures["most_mib"]
        assert isinstance(figures["mib_per_10k_documents"], float)

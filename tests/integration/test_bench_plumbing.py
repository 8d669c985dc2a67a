"""``padellm bench plumbing`` on a real Kafka."""

import json

import pytest
from typer.testing import CliRunner

from stream.bench import plumbing
from stream.cli import main
from tests.tiny_model import write_tiny_checkpoint

pytestmark = pytest.mark.integration


def test_bench_plumbing_measures_the_workers_alone(tmp_path, monkeypatch):
    """Two workers share the documents, and each has its processor time; no other broker is used."""
    monkeypatch.setenv("BROKER", "127.0.0.1:1")
    monkeypatch.setenv("PADELLM_MODEL", str(write_tiny_checkpoint(tmp_path / "tiny")))
    monkeypatch.setattr(plumbing, "_WARM_UP", 40)
    options = [
        "--limit",
        "200",
        "--workers",
        "2",
        "--partitions",
        "2",
        "--delivery",
        "exactly_once",
        "--rate",
        "100",
    ]
    result = CliRunner().invoke(main, ["bench", "plumbing", *options, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["documents_per_second"] > 0
    assert found["rate"] == 100
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    spent = found["processor_ms"]
    assert set(spent) == {plumbing.THIS, "kafka", "worker 1", "worker 2"}
    assert min(spent["worker 1"], spent["worker 2"]) > 0
    assert found["worker_ms"] == pytest.approx(spent["worker 1"] + spent["worker 2"], abs=1e-3)
    assert found["yardstick_ns"] > 0

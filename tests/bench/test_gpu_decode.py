"""The replay for GPUs, on a CPU with a tiny model."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks"
TINY = "--device cpu --layers 2 --hidden 64 --heads 4 --inner 128 --vocabulary 500 --budget-seconds 300"


@pytest.mark.train
def test_replays_every_recorded_pass() -> None:
    """Every strategy takes the recorded passes, and a tree mask changes no logits."""
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu_decode.py", *TINY.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "logits under a tree mask within" in done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["launches"]["eager"]
    recorded = json.loads((BENCHMARKS / "decode_passes.json").read_text())["sets"]
    assert {
        key: {name: (row["documents"], row["passes_mean"]) for name, row in rows.items()}
        for key, rows in figures.items()
    } == {
        key: {
            name: (len(decodes), round(mean(each["passes"] for each in decodes), 2))
            for name, decodes in one["strategies"].items()
        }
        for key, one in recorded.items()
    }

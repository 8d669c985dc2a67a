"""Files through a real Triton."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream.api import annotate
from stream.errors import InferenceUnavailable

pytestmark = pytest.mark.integration


def test_annotate_asks_a_triton_server_as_it_asks_the_engine(
    triton: Any, tiny_checkpoint: Path, tmp_path: Path
):
    """A server that runs the same model gives the same entities as the engine in the process."""
    file = tmp_path / "in.txt"
    file.write_text("".join(f"Ada{number} met Charles in London.\n" for number in range(12)))
    outputs = []
    for name, url in (("here", None), ("there", triton.url)):
        report = annotate([file], tmp_path / f"{name}.jsonl", model=tiny_checkpoint, triton=url)
        assert report.texts == 12
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        outputs.append(
            [[(one["start"], one["end"], one["label"]) for one in each["entities"]] for each in lines]
        )
    assert outputs[0] == outputs[1]


def test_annotate_names_a_server_that_is_not_there(tiny_checkpoint: Path, tmp_path: Path):
    """Without a server the run ends at once, and says how to start one."""
    (tmp_path / "in.txt").write_text("Ada\n")
    with pytest.raises(InferenceUnavailable, match=r"no model answers at 127\.0\.0\.1:1"):
        annotate([tmp_path / "in.txt"], tmp_path / "out.jsonl", model=tiny_checkpoint, triton="127.0.0.1:1")

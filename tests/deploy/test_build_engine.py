"""``build_engine.sh``: its refusals, its order of steps, and an engine that is replaced whole or not at all.

Stand-ins of NVIDIA's programs write the files of the real ones. They compute nothing.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "engine" / "build_engine.sh"
BUNDLED = ROOT / "triton_models" / "checkpoints" / "padellm-small-en"
ENGINE = {
    "version": "1.2.1",
    "pretrained_config": {"quantization": {"quant_algo": None, "kv_cache_quant_algo": None}},
    "build_config": {
        "max_seq_len": 2048,
        "max_beam_width": 1,
        "kv_cache_type": "PAGED",
        "plugin_config": {"use_paged_context_fmha": True, "tokens_per_block": 32},
    },
}
# Notes its arguments, and writes what the test wants as the engine's configuration.
BUILD = """#!/bin/bash
echo "$@" > "$NOTES/build"
[[ -z ${FAILS:-} ]] || exit 9
while (($#)); do [[ $1 == --output_dir ]] && out=$2; shift; done
mkdir -p "$out" && cp "$NOTES/engine.json" "$out/config.json"
"""
CONVERT = """
import os, pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = pathlib.Path(arguments["--model_dir"])
assert "rope_theta" in (model / "config.json").read_text()
pathlib.Path(arguments["--output_dir"]).mkdir(parents=True)
pathlib.Path(os.environ["NOTES"], "convert").write_text(" ".join(sys.argv[1:]))
if "--calib_dataset" in arguments:
    texts = pathlib.Path(arguments["--calib_dataset"], "train.jsonl").read_text()
    pathlib.Path(os.environ["NOTES"], "texts").write_text(texts)
"""

spec = spec_from_file_location("built_engine", SCRIPT.with_name("built_engine.py"))
built_engine = module_from_spec(spec)
spec.loader.exec_module(built_engine)


class Image:
    """A folder with stand-ins of the image's programs, in which the script runs."""

    def __init__(self, folder, capability="8.9"):
        self.notes, self.output = folder / "notes", folder / "build"
        programs, examples = folder / "bin", folder / "examples"
        for each in (self.notes, programs, examples / "models/core/llama", examples / "quantization"):
            each.mkdir(parents=True)
        (programs / "trtllm-build").write_text(BUILD)
        (programs / "nvidia-smi").write_text(f"#!/bin/bash\necho {capability}\n")
        (programs / "python3").symlink_to(sys.executable)
        for program in ("trtllm-build", "nvidia-smi"):
            (programs / program).chmod(0o755)
        (examples / "models/core/llama/convert_checkpoint.py").write_text(CONVERT)
        (examples / "quantization/quantize.py").write_text(CONVERT)
        self.writes(ENGINE)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "NOTES": str(self.notes),
            "EXAMPLES": str(examples),
            "OUTPUT_DIR": str(self.output),
        }

    def writes(self, engine):
        """Let the build write this configuration of an engine."""
        (self.notes / "engine.json").write_text(json.dumps(engine))

    def build(self, **settings):
        """Run the script."""
        return subprocess.run(
            ["bash", SCRIPT],
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def note(self, name):
        """Arguments that a stand-in was given."""
        return (self.notes / name).read_text()


def test_build_engine_from_view_to_stamped_engine(tmp_path):
    """The folder is converted as transformers 4 reads it, built, and stamped with the checkpoint's hash."""
    image = Image(tmp_path)
    done = image.build()
    assert done.returncode == 0, done.stderr
    assert "--dtype auto" in image.note("convert")
    for option in ("--tokens_per_block 32", "--use_paged_context_fmha enable", "--max_seq_len 2048"):
        assert option in image.note("build")
    stamp = json.loads((image.output / "engine" / "padellm.json").read_text())
    assert stamp == {
        "checkpoint_sha256": built_engine.checkpoint_sha256(BUNDLED),
        "tensorrt_llm": "1.2.1",
    }
    assert [file.name for file in image.output.iterdir()] == ["engine"]


def test_build_engine_keeps_the_old_engine_when_the_build_fails(tmp_path):
    """A build that fails leaves the engine of before, and nothing else."""
    image = Image(tmp_path)
    assert image.build().returncode == 0
    (image.output / "engine" / "old").touch()
    assert image.build(FAILS="1").returncode != 0
    assert (image.output / "engine" / "old").exists()
    assert [file.name for file in image.output.iterdir()] == ["engine"]
    assert image.build().returncode == 0
    assert not (image.output / "engine" / "old").exists()


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("plugin_config", {"use_paged_context_fmha": False, "tokens_per_block": 32}, "paged context"),
        ("plugin_config", {"use_paged_context_fmha": True, "tokens_per_block": 64}, "64 tokens"),
        ("kv_cache_type", "CONTINUOUS", "CONTINUOUS"),
        ("max_seq_len", 1024, "1024 tokens"),
        ("max_beam_width", 4, "4 beams"),
    ],
)
def test_build_engine_refuses_an_engine_that_cannot_serve(tmp_path, part, change, reason):
    """An engine without a property that the service needs is refused with that property, and not kept."""
    image = Image(tmp_path)
    image.writes({**ENGINE, "build_config": {**ENGINE["build_config"], part: change}})
    done = image.build()
    assert done.returncode != 0
    assert reason in done.stderr
    assert not (image.output / "engine").exists()


def test_build_engine_refuses_a_quantised_cache():
    """A quantised KV cache is refused."""
    engine = {**ENGINE, "pretrained_config": {"quantization": {"kv_cache_quant_algo": "FP8"}}}
    assert any("FP8" in each for each in built_engine.shortcomings(engine, 2048))


@pytest.mark.parametrize(
    ("quantization", "fits", "refused"),
    [
        ("fp8", ["8.9", "9.0", "10.0", "12.0"], ["8.0", "8.6"]),
        ("int8_sq", ["8.0", "8.9", "9.0"], ["7.5", "10.0", "12.0"]),
        ("int4_awq", ["8.0", "9.0"], ["10.0"]),
        ("w4a8_awq", ["8.9", "9.0"], ["8.6", "10.0"]),
        ("nvfp4", ["10.0", "12.0"], ["8.9", "9.0"]),
    ],
)
def test_build_engine_quantises_for_gpus_that_can_compute_it(tmp_path, quantization, fits, refused):
    """A quantisation is refused on a GPU that cannot compute it, before any work, and made on all others."""
    documents = tmp_path / "documents.jsonl.gz"
    with gzip.open(documents, "wt") as lines:
        lines.writelines(json.dumps({"text": f"Ada met Alan {n}."}) + "\n" for n in range(40))
    for capability in [*fits, *refused]:
        image = Image(tmp_path / capability, capability)
        done = image.build(QUANTIZATION=quantization, CALIBRATION=str(documents))
        assert (done.returncode == 0) == (capability in fits), done.stderr
        if capability in refused:
            assert f"compute capability {capability}" in done.stderr
            assert not (image.notes / "convert").exists()
        else:
            assert f"--qformat {quantization}" in image.note("convert")
            assert len(image.note("texts").splitlines()) == 40


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"TP_SIZE": "2"}, "one GPU"),
        ({"QUANTIZATION": "fp8"}, "needs CALIBRATION"),
        ({"QUANTIZATION": "int3"}, "int3 is unknown"),
        ({"QUANTIZATION": "fp8", "CALIBRATION": "/nowhere.jsonl"}, "/nowhere.jsonl"),
        ({"MODEL_DIR": "/nowhere"}, "no model folder"),
        ({"MODEL_FAMILY": "gemma"}, "neither llama nor qwen"),
        ({"EXAMPLES": "/nowhere"}, "set EXAMPLES"),
    ],
)
def test_build_engine_says_which_setting_is_wrong(tmp_path, settings, reason):
    """A setting that cannot work ends the build with a sentence that names it."""
    done = Image(tmp_path).build(**settings)
    assert done.returncode == 1
    assert reason in done.stderr


def test_build_engine_asks_for_merged_adapters(tmp_path):
    """An adapter's folder is refused: it is merged into its base first."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    done = Image(tmp_path).build(MODEL_DIR=str(adapter))
    assert done.returncode == 1
    assert "merge it" in done.stderr


def test_build_engine_help_lists_its_settings():
    """Every setting that the script reads is described at its top."""
    text = SCRIPT.read_text(encoding="utf-8")
    described = set(re.findall(r"^#   ([A-Z_]+) ", text, flags=re.MULTILINE))
    read = set(re.findall(r"\$\{([A-Z_]+):-", text))
    assert read - {"TP_SIZE", "BASH_SOURCE"} == described

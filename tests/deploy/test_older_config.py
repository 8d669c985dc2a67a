"""The view of a model folder for TensorRT-LLM, read by the very transformers that its image pins."""

import json
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "engine" / "older_config.py"
BUNDLED = ROOT / "triton_models" / "checkpoints" / "padellm-small-en"
LOCK = ROOT / ".ci" / "requirements" / "transformers4.txt"
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 32768,
}
SHAPES = {
    "llama": LLAMA_3,
    "qwen3": YARN,
    "qwen2": {"rope_type": "default", "rope_theta": 1e6},
    "mistral": {"rope_type": "default", "rope_theta": 1e6},
}
# Prints how transformers reads each folder: rotary embedding, type of weights and ids of a text.
READ = """
import json, sys
from transformers import AutoConfig, AutoTokenizer, __version__
assert __version__ == "4.57.3"
for folder in sys.argv[1:]:
    config = AutoConfig.from_pretrained(folder)
    try:
        ids = AutoTokenizer.from_pretrained(folder)("Ada met Alan in Oslo.")["input_ids"]
    except ValueError as error:
        ids = str(error)
    scaling = getattr(config, "rope_scaling", None)
    print(json.dumps([config.rope_theta, scaling, str(config.torch_dtype), ids]))
"""

spec = spec_from_file_location("older_config", SCRIPT)
older_config = module_from_spec(spec)
spec.loader.exec_module(older_config)


def write_model(folder, kind, rope):
    """A folder as transformers 5 writes it: the bundled tokenizer beside a config of a kind."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.for_model(
        kind, rope_parameters=rope, dtype="bfloat16", max_position_embeddings=131072
    )
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BUNDLED).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def older_python(tmp_path_factory):
    """A Python with the transformers that the TensorRT-LLM image pins."""
    python = tmp_path_factory.mktemp("transformers4") / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    install = ["pip", "install", "--quiet", "--python", python, "--require-hashes", "--requirement", LOCK]
    subprocess.run([uv, *install], check=True)
    return python


@pytest.mark.integration
def test_older_config_is_read_as_it_was_meant(older_python, tmp_path):
    """The older transformers reads the view's rotary embedding and tokenizer right, not the folder's."""
    folders = [write_model(tmp_path / kind, kind, rope) for kind, rope in SHAPES.items()]
    views = [tmp_path / f"{folder.name}-view" for folder in folders]
    for folder, view in zip(folders, views, strict=True):
        older_config.write_view(folder, view)
    done = subprocess.run(
        [older_python, "-W", "ignore", "-c", READ, *views, *folders],
        capture_output=True,
        text=True,
        check=True,
    )
    read = [json.loads(line) for line in done.stdout.splitlines()]
    ids = read[0][3]
    assert isinstance(ids, list)
    for seen, rope in zip(read, SHAPES.values(), strict=False):
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        expected = scaling if rope["rope_type"] != "default" else None
        assert seen[0] == rope["rope_theta"]
        assert (seen[1] and {name: seen[1][name] for name in scaling}) == expected
        assert seen[2:] == ["bfloat16", ids]
    for seen, rope in zip(read[len(SHAPES) :], SHAPES.values(), strict=True):
        assert seen[0] != rope["rope_theta"]  # without a word
        assert "TokenizersBackend" in seen[3]


def test_older_config_links_all_other_files(tmp_path):
    """Weights and the NER configuration are in the view as links to the folder's own."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    older_config.write_view(folder, tmp_path / "view")
    assert {file.name for file in (tmp_path / "view").iterdir()} == {file.name for file in folder.iterdir()}
    assert (tmp_path / "view" / "model.safetensors").resolve() == (folder / "model.safetensors").resolve()


@pytest.mark.parametrize(
    ("rope", "reason"),
    [
        ({"rope_type": "mrope", "rope_theta": 1e6}, "mrope"),
        ({"full_attention": {"rope_type": "default", "rope_theta": 1e6}}, "differ by layer"),
        ({"rope_type": "default"}, "rope_theta"),
    ],
)
def test_older_config_refuses_rope_without_older_words(rope, reason):
    """A rotary embedding that transformers 4 cannot be told is refused with its name."""
    with pytest.raises(older_config.UnsupportedModelError, match=reason):
        older_config.older_config({"model_type": "llama", "rope_parameters": rope})


def test_older_config_command_names_folder_and_reason(tmp_path):
    """The command ends with 1 and says which folder cannot be built, and why."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"rope_parameters": {"rope_type": "mrope"}}')
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, tmp_path / "view"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{folder} cannot be built")
    assert "mrope" in done.stderr

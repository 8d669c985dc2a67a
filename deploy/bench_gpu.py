"""Measure each GPU backend on this machine, one after the other: `make bench-gpu`.

Each backend's Triton is started with compose, measured with `padellm bench live`, and taken down. The figures
go to a file, one JSON object a backend, with the GPU's name. TensorRT-LLM is measured where its engine has
been built.

    python deploy/bench_gpu.py [--data dev.jsonl.gz] [--model FOLDER] [--output gpu_serving.jsonl]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "deploy" / "engine" / "build" / "engine"
_LLMAPI = {
    "PADELLM_GPU_BACKEND": "llmapi",
    "PADELLM_GPU_IMAGE": "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    "@sha256:b097871d05da2e63178d1b91fd1199bc395f653ade4f05ab227c463ea7437007",
}


@dataclass(frozen=True)
class Backend:
    """How compose starts a backend.

    Attributes:
        profile: Profile of compose.
        service: Its Triton.
        variables: Of the environment, for the image.
    """

    profile: str
    service: str
    variables: Mapping[str, str] = field(default_factory=dict)


BACKENDS = {
    "vllm": Backend("gpu", "triton-gpu"),
    "llmapi": Backend("gpu", "triton-gpu", _LLMAPI),
    "trtllm": Backend("trtllm", "triton-trtllm"),
}
_PATIENCE = 1800.0  # seconds for an image to be built and billions of weights to be loaded


def compose(backend: Backend, model: Path | None) -> tuple[list[str], dict[str, str]]:
    """The command line of compose, and its environment, for a backend and a model."""
    files = ["docker-compose.yml", "compose.gpu.yml", *(["compose.model.yml"] if model else [])]
    command = ["docker", "compose", *(part for file in files for part in ("-f", file))]
    folder = {"PADELLM_MODEL_DIR": str(model)} if model else {}
    return command, {**os.environ, "COMPOSE_PROFILES": backend.profile, **backend.variables, **folder}


def measure(backend: Backend, data: Path | None, model: Path | None) -> list[dict[str, object]]:
    """Start one backend, measure it, and take it down.

    Raises:
        RuntimeError: It does not get healthy.
        subprocess.CalledProcessError: Compose or the measurement failed.
    """
    command, environment = compose(backend, model)
    service = backend.service

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    try:
        run("up", "--build", "--detach", service)
        deadline = time.monotonic() + _PATIENCE
        while "(healthy)" not in run("ps", service):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{service} is not healthy: {run('logs', '--tail', '40', service)}")
            time.sleep(2)
        port = os.environ.get("PADELLM_TRITON_PORT", "8001")
        settings = {"PADELLM_TRITON_URL": f"127.0.0.1:{port}", "PADELLM_MODEL": str(model or "")}
        program = [sys.executable, "-m", "stream.cli", "bench", "live", "--json"]
        done = subprocess.run(
            [*program, *(["--data", str(data)] if data else [])],
            env={**os.environ, **settings},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        print(done.stdout)
        runs: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
        return runs
    finally:
        run("down")


def gpu() -> str:
    """Name and memory of the first GPU.

    Raises:
        SystemExit: There is none.
    """
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise SystemExit(f"bench_gpu.py: nvidia-smi names no GPU here: {error}") from error


def main() -> None:
    """Measure all backends that can be started."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="annotated documents, JSONL [default: the samples]")
    parser.add_argument("--model", type=Path, help="model folder [default: the bundled one]")
    parser.add_argument("--output", type=Path, default=Path("gpu_serving.jsonl"))
    asked = parser.parse_args()
    name = gpu()
    model = asked.model.resolve() if asked.model else None
    data = asked.data.resolve() if asked.data else None
    for title, backend in BACKENDS.items():
        if title == "trtllm" and not ENGINE.is_dir():
            print(f"trtllm: left out, since {ENGINE} has not been built (deploy/engine/build_engine.sh)")
            continue
        runs = measure(backend, data, model)
        with asked.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"gpu": name, "backend": title, "runs": runs}) + "\n")
    print(f"figures: {asked.output}")


if __name__ == "__main__":
    main()

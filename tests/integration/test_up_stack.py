"""`padellm up`: the whole stack, as a person starts it, on the ports that are free."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.tiny_model import write_tiny_checkpoint

pytestmark = pytest.mark.integration

_PATIENCE = 120.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model: the stack is tested here, not what the model says."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def start_up(tmp_path: Path, model: Path) -> Iterator[Start]:
    """Starts `padellm up` with a data folder of this test's own."""
    started = []
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PADELLM_", "BROKER"))
    }

    def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stream.cli", "up", "--model", str(model), "--json", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment | variables, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _documents(folder: Path, count: int) -> Path:
    path = folder / "documents.jsonl"
    texts = [f"Document {number}: Angela Merkel visited Paris." for number in range(count)]
    path.write_text(
        "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    )
    return path


def _first_line(process: subprocess.Popen[str]) -> dict[str, str]:
    """Wait for the first line of JSON: the addresses, or an event."""
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def _ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _wait_for_end(processes: list[psutil.Process], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := [each for each in processes if not _ended(each)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("inference", ["in-process", "triton"])
def test_up_once_gives_every_document_one_outcome(start_up, tmp_path, inference):
    """`up --once --json` prints one event a document and a summary, and does so again on kept data."""
    documents = _documents(tmp_path, 25)
    for _ in range(2):
        process = start_up("--once", "--documents", str(documents), "--inference", inference)
        output, errors = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 0, errors
        *lines, summary = map(json.loads, output.splitlines())
        assert sorted(int(line["document_id"]) for line in lines) == list(range(25))
        assert summary.keys() == {
            "documents", "events", "dead_letters", "repeats", "entities",
            "seconds", "documents_per_second", "p50_ms", "p99_ms",
        }  # fmt: skip
        assert (summary["documents"], summary["events"], summary["dead_letters"]) == (25, 25, 0)
        assert summary["documents_per_second"] == pytest.approx(25 / summary["seconds"], rel=0.01)


def test_up_once_refuses_a_bad_file_before_it_starts_anything(start_up, tmp_path):
    """A line that is no document is named at once, and no broker is started for it."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "good"}\n{"txt": "bad"}\n')
    process = start_up("--once", "--documents", str(path), "--inference", "in-process")
    _, errors = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 1
    assert "bad.jsonl, line 2, is not a document" in errors
    assert not (tmp_path / ".padellm" / "logs" / "kafka.log").exists()


def test_up_once_streams_an_open_pipe_and_ends_on_sigterm(start_up, kafka):
    """A line of an open pipe becomes an event at once, and waiting for the next holds up no end."""
    options = ["--once", "--documents", "-", "--inference", "in-process"]
    process = start_up(*options, BROKER=kafka.bootstrap, PADELLM_DOCUMENTS_TOPIC="piped")
    process.stdin.write("Angela Merkel visited Paris.\n")
    process.stdin.flush()
    assert _first_line(process)["document_id"] == "stdin-1"
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize("inference", ["in-process", "triton"])
def test_up_leaves_no_process_after_kill_9(start_up, inference):
    """Killing `padellm up` itself with SIGKILL ends Kafka, Triton, its stubs and the worker."""
    process = start_up("--inference", inference)
    _first_line(process)
    processes = psutil.Process(process.pid).children(recursive=True)
    names = " ".join(" ".join(each.cmdline()) for each in processes)
    assert "kafka.Kafka" in names
    assert "stream.cli worker" in names
    assert ("tritonserver" in names) == (inference == "triton")
    process.kill()
    _wait_for_end(processes, seconds=15)


def test_up_restarts_the_worker_and_stops_on_sigterm(start_up):
    """A killed worker is started again and gets ready; SIGTERM ends all of it in order with status 0."""
    process = start_up("--inference", "in-process")
    addresses = _first_line(process)
    processes = psutil.Process(process.pid).children(recursive=True)
    (worker,) = [each for each in processes if "worker" in each.cmdline()]
    worker.kill()
    _wait_for_end([worker], seconds=5)
    deadline = time.monotonic() + 60
    while not _answers(addresses["health"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert _answers(addresses["page"])
    processes = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "worker died" in errors
    _wait_for_end(processes, seconds=1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False

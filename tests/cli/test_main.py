"""The command line as a whole."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from stream.cli import _COMMANDS, main


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream.cli", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", _COMMANDS)
def test_main_every_command_has_help_with_an_example(name):
    """`padellm COMMAND --help` works, and shows how the command is called."""
    result = CliRunner().invoke(main, [name, "--help"], terminal_width=200)
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert f"padellm {name}" in result.output


def test_main_help_imports_no_command():
    """`padellm --help` is quick: it loads neither a command nor what commands need."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from stream.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print([name for name in sys.modules if name.startswith('stream.cli.') or name in "
        "('faust', 'aiokafka', 'transformers', 'tritonclient', 'pydantic', 'numpy')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_main_names_the_variable_of_a_wrong_setting():
    """A setting of the wrong kind becomes one message that names its variable and what is wrong with it."""
    answer = _run("config", PADELLM_MAX_IN_FLIGHT="many")
    assert answer.returncode == 1
    assert "PADELLM_MAX_IN_FLIGHT=many: Input should be a valid integer" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_main_warns_of_a_misspelt_setting():
    """A variable that is no setting is named on stderr with the nearest one, and the command goes on."""
    answer = _run("config", "--json", PADELLM_TRESHOLD="0.5")
    assert answer.returncode == 0
    assert (
        "PADELLM_TRESHOLD is not a setting and is ignored; did you mean PADELLM_THRESHOLD?" in answer.stderr
    )
    assert json.loads(answer.stdout)["threshold"]["from"] == "default"


def test_main_worker_logs_a_misspelt_setting():
    """The worker logs such a variable as JSON, since its standard error holds nothing else."""
    answer = _run("worker", "--model", "/nowhere", PADELLM_TRESHOLD="0.5", PADELLM_HEALTH_PORT="0")
    lines = [json.loads(line) for line in answer.stderr.splitlines() if line.startswith("{")]
    (logged,) = [line for line in lines if line["event"] == "unknown setting ignored"]
    assert (logged["variable"], logged["advice"]) == ("PADELLM_TRESHOLD", "did you mean PADELLM_THRESHOLD?")


@pytest.mark.parametrize(
    ("variables", "grade", "found"),
    [
        ({"PADELLM_TRESHOLD": "0.5"}, "warn", "PADELLM_TRESHOLD"),
        ({"PADELLM_LOG_LEVEL": "verbose"}, "fail", "PADELLM_LOG_LEVEL=verbose"),
        ({"PADELLM_DEAD_LETTERS_TOPIC": "documents"}, "fail", "PADELLM_DEAD_LETTERS_TOPIC=documents"),
    ],
)
def test_main_doctor_finds_wrong_settings(variables, grade, found):
    """Settings that are misspelt, wrong or contradictory are findings of doctor, not an end of it."""
    answer = _run("doctor", "--json", BROKER="127.0.0.1:1", **variables)
    assert answer.returncode == 1
    findings = json.loads(answer.stdout)["findings"]
    (finding,) = [each for each in findings if found in each["found"]]
    assert (finding["subject"], finding["grade"]) == ("settings", grade)
    assert finding["fix"]


def test_main_names_the_extra_of_a_missing_package(monkeypatch):
    """A command whose package is not installed says which extra brings it."""

    def missing(_name: str) -> None:
        raise ModuleNotFoundError(name="onnxruntime")

    monkeypatch.setattr("stream.cli.import_module", missing)
    result = CliRunner().invoke(main, ["extract", "text"])
    assert result.exit_code == 1
    assert "pip install 'padellm-stream[local]'" in result.stderr


def test_main_reports_an_unreachable_broker_in_one_line():
    """Without a broker a client command ends with status 1 and says where it looked."""
    answer = _run("consume", BROKER="127.0.0.1:1")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("padellm: the Kafka broker at 127.0.0.1:1 does not answer")
    assert len(answer.stderr.strip().splitlines()) == 1

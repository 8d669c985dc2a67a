"""`padellm config`."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli import main
from stream.settings import Settings


def _config() -> dict:
    result = CliRunner().invoke(main, ["config", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting comes from the machine that runs the tests."""
    for name in ("BROKER", "PADELLM_BROKER", "PADELLM_MAX_IN_FLIGHT", "PADELLM_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_config_shows_every_setting(monkeypatch):
    """Every setting is there with its effective value."""
    monkeypatch.setenv("PADELLM_MAX_IN_FLIGHT", "128")
    shown = _config()
    assert set(shown) == set(Settings.model_fields)
    assert shown["max_in_flight"] == {"value": 128, "from": "PADELLM_MAX_IN_FLIGHT"}
    assert shown["drain_limit"] == {"value": 20.0, "from": "default"}


def test_config_names_the_variable_that_won(monkeypatch):
    """Where two variables set one setting, the one that counts is named."""
    monkeypatch.setenv("BROKER", "loses:9092")
    assert _config()["broker"] == {"value": "loses:9092", "from": "BROKER"}
    monkeypatch.setenv("PADELLM_BROKER", "wins:9092")
    assert _config()["broker"] == {"value": "wins:9092", "from": "PADELLM_BROKER"}


def test_config_takes_an_empty_variable_for_unset(monkeypatch):
    """An empty variable sets nothing, and does not hide another one of the same setting."""
    monkeypatch.setenv("PADELLM_MODEL", "")
    monkeypatch.setenv("PADELLM_BROKER", "")
    monkeypatch.setenv("BROKER", "kafka:9092")
    shown = _config()
    assert shown["model"] == {"value": None, "from": "default"}
    assert shown["broker"] == {"value": "kafka:9092", "from": "BROKER"}

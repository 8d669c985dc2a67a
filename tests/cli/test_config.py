"""`padellm config`."""

import json

import pytest
from pydantic import Field
from typer.testing import CliRunner

from stream.cli import config, main
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


def test_config_hides_secrets(monkeypatch):
    """A password is not shown, only that there is one."""

    class WithPassword(Settings):
        broker_password: str = Field(default="", description="Of the broker.")

    monkeypatch.setattr(config, "Settings", WithPassword)
    monkeypatch.setenv("PADELLM_BROKER_PASSWORD", "hunter2")
    result = CliRunner().invoke(main, ["config", "--json"])
    assert json.loads(result.stdout)["broker_password"]["value"] == "********"
    assert "hunter2" not in result.output

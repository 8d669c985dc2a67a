"""Settings from the environment."""

import re

import pytest
from pydantic import ValidationError

from stream.settings import (
    COMPOSE_VARIABLES,
    LogLevel,
    Settings,
    problems,
    set_variable,
    unknown_variables,
    user_cache_folder,
    variables,
)

TOPICS = ("documents_topic", "entities_topic", "dead_letters_topic")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without settings, to put some in."""
    for name in Settings.model_fields:
        for variable in variables(name):
            monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def _refused() -> list[str]:
    with pytest.raises(ValidationError) as error:
        Settings()
    return problems(error.value)


def test_settings_have_defaults_that_fit_together():
    """An empty environment is a valid one."""
    assert Settings().log_level is LogLevel.INFO


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_empty_variable_counts_as_unset(environment, name):
    """A setting whose variable is empty has its default, as if the variable were not there."""
    default = getattr(Settings(), name)
    environment.setenv(variables(name)[0], "")
    settings = Settings()
    assert getattr(settings, name) == default
    assert name not in settings.model_fields_set
    assert set_variable(name) is None


def test_settings_empty_variable_does_not_hide_its_other_name(environment):
    """BROKER counts where PADELLM_BROKER is empty."""
    environment.setenv("PADELLM_BROKER", "")
    environment.setenv("BROKER", "kafka:9092")
    assert Settings().broker == "kafka:9092"
    assert set_variable("broker") == "BROKER"


@pytest.mark.parametrize("same", ["same", ("a.b", "a_b")])
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_settings_topics_differ(environment, pair, same):
    """No two of the three topics may be one, nor two that Kafka cannot hold beside each other."""
    names = (same, same) if isinstance(same, str) else same
    given = []
    for index, name in zip(pair, names, strict=True):
        (variable,) = variables(TOPICS[index])
        environment.setenv(variable, name)
        given.append(f"{variable}={name}")
    (problem,) = _refused()
    assert problem.startswith(" and ".join(given))


def test_settings_topics_differ_from_defaults(environment):
    """A topic may not be the default of another either, and the message names both variables and the harm."""
    environment.setenv("PADELLM_DEAD_LETTERS_TOPIC", "documents")
    (problem,) = _refused()
    assert problem == (
        "PADELLM_DOCUMENTS_TOPIC=documents and PADELLM_DEAD_LETTERS_TOPIC=documents are the same: "
        "every dead letter would be read as a document, without end"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PADELLM_LOG_LEVEL", "verbose"),
        ("PADELLM_DOCUMENTS_TOPIC", "my documents"),
        ("PADELLM_ENTITIES_TOPIC", ".."),
        ("PADELLM_ENTITIES_TOPIC", "x" * 250),
        ("PADELLM_TRITON_URL", "http://127.0.0.1:8000"),
        ("PADELLM_TRITON_URL", "triton"),
        ("BROKER", "PLAINTEXT://kafka:9092"),
        ("PADELLM_BROKER", "kafka:9092,"),
        ("PADELLM_INT8", "perhaps"),
        ("PADELLM_DRAIN_LIMIT", "inf"),
        ("PADELLM_DOCUMENT_DEADLINE", "nan"),
        ("PADELLM_THRESHOLD", "nan"),
    ],
)
def test_settings_refuse_what_cannot_work(environment, variable, value):
    """A value that could only make the worker wait for ever is refused at once, by variable and value."""
    environment.setenv(variable, value)
    (problem,) = _refused()
    assert problem.startswith(f"{variable}={value}: ")


@pytest.mark.parametrize("broker", ["a:1,b:2", "a:1, b:2", "[::1]:9092", "kafka_1.example-x:65535"])
def test_settings_take_every_kind_of_address(environment, broker):
    """Several brokers, with or without a space between, and addresses of IPv6 are taken."""
    environment.setenv("BROKER", broker)
    assert Settings().broker == broker


@pytest.mark.parametrize("value", ["1", "true", "True", "yes", "on"])
def test_settings_booleans(environment, value):
    """A switch can be turned on in every usual way."""
    environment.setenv("PADELLM_INT8", value)
    assert Settings().int8


def test_settings_name_the_nearest_of_a_misspelt_one(environment):
    """A variable with the prefix that is no setting is found, with the setting that was probably meant."""
    environment.setenv("PADELLM_TRESHOLD", "0.5")
    environment.setenv("PADELLM_QQQQ", "1")
    environment.setenv("PADELLM_EMPTY", "")
    environment.setenv("PADELLM_KAFKA_PORT", "9093")
    environment.setenv("padellm_max_labels", "3")
    assert unknown_variables() == {
        "PADELLM_QQQQ": "see padellm config",
        "PADELLM_TRESHOLD": "did you mean PADELLM_THRESHOLD?",
    }
    assert Settings().max_labels == 3


def test_settings_have_one_cache_folder(environment, tmp_path):
    """Graphs and jars are in one folder, which PADELLM_CACHE_DIR or else the desktop's convention names."""
    environment.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Settings().cache_dir == user_cache_folder() == tmp_path / "padellm"
    environment.setenv("PADELLM_CACHE_DIR", str(tmp_path / "mine"))
    assert Settings().cache_dir == user_cache_folder() == tmp_path / "mine"


def test_settings_know_the_variables_of_compose():
    """The variables that the compose files read beside the settings are no misspelt settings."""
    from tests.deploy.test_compose import ROOT

    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*compose*.yml"))
    settings = {variable for name in Settings.model_fields for variable in variables(name)}
    assert set(re.findall(r"\$\{(PADELLM_\w+)", text)) - settings == COMPOSE_VARIABLES

"""Settings from the environment."""

import re

import pytest
from pydantic import ValidationError

from stream.errors import ConfigurationError
from stream.settings import LogLevel, Settings
from stream.settings.protection import present
from stream.settings.values import user_cache_folder
from stream.settings.variables import COMPOSE_VARIABLES, problems, set_variable, unknown_variables, variables
from stream.settings.variables import environment as process_environment

TOPICS = ("documents_topic", "entities_topic", "dead_letters_topic", "entity_rows_topic")


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
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)])
def test_settings_topics_differ(environment, pair, same):
    """No two topics may be one, nor two that Kafka cannot hold beside each other."""
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
        ("PADELLM_TRITON_URL", "triton-0:8001,"),
        ("PADELLM_TRITON_URL", "dns:///triton"),
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


def test_settings_name_all_that_do_not_fit_together(environment):
    """Contradictions of different kinds are told at once, so that one start is enough to see them."""
    environment.setenv("PADELLM_ENTITIES_TOPIC", "documents")
    environment.setenv("PADELLM_RECORD_FORMAT", "json")
    environment.setenv("PADELLM_SECURITY_PROTOCOL", "SASL_SSL")
    (problem,) = _refused()
    for part in (
        "PADELLM_ENTITIES_TOPIC=documents are the same",
        "PADELLM_TEXT_POINTERS",
        "PADELLM_SASL_MECHANISM",
    ):
        assert part in problem


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


SASL = {"PADELLM_SECURITY_PROTOCOL": "SASL_SSL", "PADELLM_SASL_MECHANISM": "SCRAM-SHA-512"}
LOGIN = SASL | {"PADELLM_SASL_USERNAME": "alice", "PADELLM_SASL_PASSWORD": "secret of alice"}
REGISTRY = {"PADELLM_RECORD_ENCODING": "registry", "PADELLM_SCHEMA_REGISTRY_URL": "http://r.test/"}
OAUTH = SASL | {"PADELLM_SASL_MECHANISM": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"PADELLM_SASL_PASSWORD": "secret"}, "PADELLM_SASL_PASSWORD is set, but PADELLM_SECURITY_PROTOCOL="),
        (
            {"PADELLM_SASL_MECHANISM": "PLAIN"},
            "PADELLM_SASL_MECHANISM is set, but PADELLM_SECURITY_PROTOCOL=",
        ),
        (
            {"PADELLM_SSL_CA_LOCATION": "/ca"},
            "PADELLM_SSL_CA_LOCATION is set, but PADELLM_SECURITY_PROTOCOL=",
        ),
        ({"PADELLM_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_SSL needs PADELLM_SASL_MECHANISM"),
        (SASL, "needs PADELLM_SASL_USERNAME or PADELLM_SASL_USERNAME_FILE"),
        (SASL | {"PADELLM_SASL_USERNAME": "a"}, "needs PADELLM_SASL_PASSWORD or PADELLM_SASL_PASSWORD_FILE"),
        (
            LOGIN | {"PADELLM_SASL_PASSWORD_FILE": "/f"},
            "PADELLM_SASL_PASSWORD and PADELLM_SASL_PASSWORD_FILE are",
        ),
        (LOGIN | {"PADELLM_SASL_OAUTHBEARER_SCOPE": "s"}, "PADELLM_SASL_OAUTHBEARER_SCOPE is set, but"),
        (
            LOGIN | {"PADELLM_SASL_MECHANISM": "OAUTHBEARER"},
            "needs PADELLM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
        ),
        (LOGIN | {"PADELLM_SSL_KEY_LOCATION": "/k"}, "is set without PADELLM_SSL_CERTIFICATE_LOCATION"),
        ({"PADELLM_TRITON_SSL_CA_LOCATION": "/ca"}, "is set, but PADELLM_TRITON_SSL is not"),
        (
            {"PADELLM_TRITON_SSL": "1", "PADELLM_TRITON_SSL_KEY_LOCATION": "/k"},
            "is set without PADELLM_TRITON_SSL_CERTIFICATE_LOCATION",
        ),
        (OAUTH | {"PADELLM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "http://sso.test/"}, "use https://"),
        (
            OAUTH | {"PADELLM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "https://a:secret@sso.test/"},
            "expected https://",
        ),
        (OAUTH | {"PADELLM_SASL_OAUTHBEARER_EXTENSIONS": "a b"}, "expected name=value"),
        ({"PADELLM_RECORD_ENCODING": "registry"}, "is set without PADELLM_SCHEMA_REGISTRY_URL"),
        ({"PADELLM_SCHEMA_REGISTRY_USERNAME": "a"}, "is set without PADELLM_SCHEMA_REGISTRY_URL"),
        ({"PADELLM_SCHEMA_REGISTRY_URL": "https://r.test"}, "nothing uses it"),
        ({"PADELLM_SCHEMA_REGISTRY_URL": "https://a:secret@r.test"}, "expected https://"),
        (REGISTRY | {"PADELLM_RECORD_FORMAT": "text"}, "goes with PADELLM_RECORD_FORMAT document, json"),
        (REGISTRY | {"PADELLM_SCHEMA_REGISTRY_USERNAME": "a"}, "without PADELLM_SCHEMA_REGISTRY_PASSWORD"),
        (REGISTRY | {"PADELLM_SCHEMA_REGISTRY_PASSWORD": "secret"}, "would be sent in clear text"),
        (REGISTRY | {"PADELLM_SCHEMA_REGISTRY_SSL_CA_LOCATION": "/ca"}, "is not https://"),
        (
            REGISTRY | {"PADELLM_SCHEMA_REGISTRY_SSL_KEY_LOCATION": "/k"},
            "without PADELLM_SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION",
        ),
    ],
)
def test_settings_refuse_protection_that_would_be_passed_over(environment, given, problem):
    """Settings of a protection that contradict each other are refused, and no secret is in the message."""
    for variable, value in given.items():
        environment.setenv(variable, value)
    found = "; ".join(_refused())
    assert problem in found
    assert "secret" not in found.replace("clear text", "").replace("the client's secret", "")


@pytest.mark.parametrize("protocol", ["SASL_SSL", "sasl_ssl"])
def test_settings_hide_secrets_and_hand_them_on(environment, protocol):
    """A secret is in no form of the settings that is printed, but in the environment of another process."""
    for variable, value in LOGIN.items():
        environment.setenv(variable, value)
    environment.setenv("PADELLM_SECURITY_PROTOCOL", protocol)
    settings = Settings()
    for printed in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "secret of alice" not in printed
    handed_on = process_environment(settings)
    assert {name: handed_on[name] for name in LOGIN} == LOGIN


def test_settings_read_a_secret_anew(environment, tmp_path):
    """A secret in a file is the file's present content, without its last line break; its absence is named."""
    file = tmp_path / "password"
    for variable, value in LOGIN.items():
        environment.setenv(variable, value)
    environment.delenv("PADELLM_SASL_PASSWORD")
    environment.setenv("PADELLM_SASL_PASSWORD_FILE", str(file))
    settings = Settings()
    with pytest.raises(
        ConfigurationError, match=r"PADELLM_SASL_PASSWORD_FILE=.* cannot be read: No such file"
    ):
        present(settings, "sasl_password")
    for password in ("first", "second "):
        file.write_text(f"{password}\n")
        assert present(settings, "sasl_password") == password
    file.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        present(settings, "sasl_password")


def test_settings_know_the_variables_of_compose():
    """The variables that the compose files read beside the settings are no misspelt settings."""
    from tests.deploy.test_compose import ROOT

    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*compose*.yml"))
    settings = {variable for name in Settings.model_fields for variable in variables(name)}
    assert set(re.findall(r"\$\{(PADELLM_\w+)", text)) - settings == COMPOSE_VARIABLES


@pytest.mark.parametrize(
    ("text", "pointers"),
    [
        ("/a", ("/a",)),
        (" /a , /b~1c/0 ", ("/a", "/b~1c/0")),
        ('["/a,b", "/c"]', ("/a,b", "/c")),
        ('[""]', ("",)),
    ],
)
def test_settings_pointers_are_a_list(environment, text, pointers):
    """Pointers are parted by commas, or a JSON list; a process that is handed them on reads the same."""
    environment.setenv("PADELLM_RECORD_FORMAT", "json")
    environment.setenv("PADELLM_TEXT_POINTERS", text)
    settings = Settings()
    assert settings.text_pointers == pointers
    environment.setenv("PADELLM_TEXT_POINTERS", settings.model_dump(mode="json")["text_pointers"])
    assert Settings().text_pointers == pointers


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"RECORD_FORMAT": "json"}, "needs PADELLM_TEXT_POINTERS"),
        ({"RECORD_FORMAT": "text", "TEXT_POINTERS": "/a"}, "has no fields to point at"),
        ({"ID_POINTER": "/id"}, "PADELLM_RECORD_FORMAT=document has no fields to point at"),
        ({"CARRY_ALL_FIELDS": "true"}, "PADELLM_CARRY_ALL_FIELDS is set"),
        ({"RECORD_FORMAT": "json", "TEXT_POINTERS": "body"}, "is no JSON Pointer"),
        ({"RECORD_FORMAT": "json", "TEXT_POINTERS": "/a,/a"}, "a pointer is there twice"),
        ({"RECORD_FORMAT": "json", "TEXT_POINTERS": '["/a"'}, "PADELLM_TEXT_POINTERS"),
        ({"RECORD_FORMAT": "json", "TEXT_POINTERS": "/a", "OPTIONAL_TEXT_POINTERS": "/a"}, "/a is both in"),
        (
            {
                "RECORD_FORMAT": "json",
                "TEXT_POINTERS": "/a",
                "METADATA_POINTERS": "/b",
                "CARRY_ALL_FIELDS": "yes",
            },
            "exclude each other",
        ),
        ({"OFFSETS": "utf-32"}, "PADELLM_OFFSETS=utf-32"),
    ],
)
def test_settings_pointers_fit_the_form_of_records(environment, given, complaint):
    """Pointers that no record could answer are refused at once, and the message names the variable."""
    for name, value in given.items():
        environment.setenv(f"PADELLM_{name}", value)
    (problem,) = _refused()
    assert complaint in problem

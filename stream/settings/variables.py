"""Variables of the environment: which belong to which setting, and what is wrong with one."""

import os
from difflib import get_close_matches

from pydantic import AliasChoices, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from stream.settings.settings import Settings
from stream.settings.values import PREFIX, in_files, variable

# Variables that docker-compose.yml and the files laid over it read themselves: ports, sizes and folders.
COMPOSE_VARIABLES = frozenset(
    {
        "PADELLM_ENGINE_DIR",
        "PADELLM_GPU_BACKEND",
        "PADELLM_GPU_DRAFT_TOKENS",
        "PADELLM_GPU_DTYPE",
        "PADELLM_GPU_HOST_MEMORY",
        "PADELLM_GPU_IMAGE",
        "PADELLM_GPU_MAX_SEQUENCES",
        "PADELLM_GPU_MEMORY",
        "PADELLM_HEALTH_PORTS",
        "PADELLM_KAFKA_HEAP",
        "PADELLM_KAFKA_PORT",
        "PADELLM_KAFKA_RETENTION_BYTES",
        "PADELLM_KAFKA_RETENTION_HOURS",
        "PADELLM_MODEL_DIR",
        "PADELLM_PARTITIONS",
        "PADELLM_PROMETHEUS_PORT",
        "PADELLM_TLS_DIR",
        "PADELLM_TRITON_PORT",
    }
)
# An address may hold a password by mistake.
_UNPRINTED = in_files(Settings.model_fields) | {
    "sasl_oauthbearer_token_endpoint_url",
    "schema_registry_url",
    "otlp_endpoint",
}


def environment(settings: Settings) -> dict[str, str]:
    """Settings as the variables of another process, secrets in clear text."""
    values = settings.model_dump(mode="json", exclude_none=True)
    secrets = {name: getattr(settings, name) for name in values}
    values |= {
        name: value.get_secret_value() for name, value in secrets.items() if isinstance(value, SecretStr)
    }
    return {variable(name): str(value) for name, value in values.items()}


def variables(name: str) -> tuple[str, ...]:
    """Variables that a setting is read from; the first that is set counts.

    Args:
        name: A field of ``Settings``.
    """
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(map(str, alias.choices))
    return (variable(name),)


def set_variable(name: str) -> str | None:
    """The variable of the environment that a setting has its value from; None for its default."""
    given = {each.upper() for each, value in os.environ.items() if value}
    return next((each for each in variables(name) if each in given), None)


def unknown_variables() -> dict[str, str]:
    """Variables of the environment that begin with ``PADELLM_`` and are no settings, each with advice."""
    known = {each for name in Settings.model_fields for each in variables(name)} | COMPOSE_VARIABLES
    # Without the prefix, which would make any two of them alike.
    names = sorted({each.removeprefix(PREFIX) for each in known})
    advice = {}
    for given, value in sorted(os.environ.items()):
        name = given.upper()
        if value and name.startswith(PREFIX) and name not in known:
            nearest = get_close_matches(name.removeprefix(PREFIX), names, n=1)
            advice[given] = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "see padellm config"
    return advice


def problems(error: ValidationError) -> list[str]:
    """Messages for an error of ``Settings``; each names variable, value and reason."""
    return [_problem(each) for each in error.errors(include_url=False)]


def _problem(error: ErrorDetails) -> str:
    reason = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # of several settings together; the reason names them
        return reason
    place = str(error["loc"][0])
    field = next(name for name in Settings.model_fields if place in {name, *variables(name)})
    if field in _UNPRINTED:
        return f"{set_variable(field) or variable(field)}: {reason}"
    return f"{set_variable(field) or variable(field)}={error['input']}: {reason}"

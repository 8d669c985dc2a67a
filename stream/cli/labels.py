"""Labels as the command line takes them."""

from pydantic import TypeAdapter, ValidationError

from stream.contract.rules import check_labels
from stream.errors import BadDocument, ConfigurationError
from stream.settings import Settings


def parse_labels(option: str | None) -> list[str] | dict[str, str] | None:
    """Labels of ``--labels``: names with commas between them, a JSON list, or a JSON object with definitions.

    Raises:
        ConfigurationError: It begins like JSON and is not.
    """
    if option is None:
        return None
    labels: list[str] | dict[str, str]
    if option.lstrip().startswith(("{", "[")):
        try:
            labels = TypeAdapter(list[str] | dict[str, str]).validate_json(option)
        except ValidationError as error:
            raise ConfigurationError(
                f"--labels {option}: neither a JSON list of names nor an object of name to definition"
            ) from error
    else:
        labels = [name.strip() for name in option.split(",")]
    return labels


def checked(labels: list[str] | dict[str, str] | None) -> list[str] | dict[str, str] | None:
    """Labels that a worker would take too.

    Raises:
        ConfigurationError: It would not.
    """
    if labels is not None:
        try:
            check_labels(labels, most=Settings().max_labels)
        except BadDocument as error:
            raise ConfigurationError(f"--labels: {error}") from error
    return labels


def parse_names(option: str | None) -> list[str] | None:
    """Labels without definitions, otherwise as ``parse_labels``.

    Raises:
        ConfigurationError: As ``parse_labels``, or there are definitions, or no label is named.
    """
    labels = parse_labels(option)
    if isinstance(labels, dict):
        raise ConfigurationError(f"--labels {option}: only names are of use here: give a JSON list of them")
    if labels is not None and not (labels and all(name.strip() for name in labels)):
        raise ConfigurationError(
            "--labels names no label, or an empty one; give for example --labels PER,LOC"
        )
    return labels

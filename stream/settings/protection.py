"""Values that files hold in place of variables, and the protection of the connections to servers."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from stream.errors import ConfigurationError
from stream.settings.settings import Settings
from stream.settings.values import variable


def present(settings: Settings, name: str) -> str | None:
    """Value of a setting that a file may hold; the file is read anew each time, without its last line break.

    Args:
        settings: Effective settings.
        name: A setting that has one of the same name with ``_file`` behind it.

    Returns:
        None where neither the value nor the file is set.

    Raises:
        ConfigurationError: The file cannot be read, or is empty.
    """
    file: Path | None = getattr(settings, f"{name}_file")
    if file is None:
        value = getattr(settings, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else value
    place = f"{variable(f'{name}_file')}={file}"
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{place} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}"
        ) from None
    if not text:
        raise ConfigurationError(f"{place} is empty")
    return text


KAFKA_PROTECTION = tuple(
    name for name in Settings.model_fields if name.startswith(("security_", "ssl_", "sasl_", "https_"))
)
TRITON_PROTECTION = tuple(name for name in Settings.model_fields if name.startswith("triton_ssl"))


def plain(settings: Settings, protection: tuple[str, ...], server: str) -> dict[str, Any]:
    """Values of a protection's settings for a server of this program's own, which has none, on loopback.

    Args:
        settings: From the environment.
        protection: ``KAFKA_PROTECTION`` or ``TRITON_PROTECTION``.
        server: Variable that names another server.

    Raises:
        ConfigurationError: One of them is set: it is meant for another server.
    """
    if chosen := [name for name in protection if name in settings.model_fields_set]:
        raise ConfigurationError(
            f"{variable(chosen[0])} is set, and {server} is not: the server started here is plain text"
        )
    return {name: Settings.model_fields[name].default for name in protection}

"""The schema registry: its answer, and the schema of the events."""

from stream.doctor.finding import Finding, fail, ok
from stream.errors import ConfigurationError, RegistryUnavailable
from stream.registry.values import RegistryValues
from stream.settings import Settings

_SUBJECT = "schema registry"


async def check_registry(settings: Settings) -> Finding:
    """Check that the registry of the settings answers, and has the schema of the events."""
    try:
        values = RegistryValues(settings)
    except ConfigurationError as error:
        return fail(_SUBJECT, str(error), "correct the setting or the file that it names")
    try:
        await values.prepare()
    except (RegistryUnavailable, ConfigurationError) as error:
        return fail(_SUBJECT, str(error), "the worker waits until this is removed")
    finally:
        await values.close()
    return ok(_SUBJECT, f"{values.registry.url} answers")

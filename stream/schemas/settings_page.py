"""The page ``docs/settings.md``: every setting, its default and its meaning."""

from pydantic.fields import FieldInfo

from stream.settings import Settings
from stream.settings.variables import variables

# The first setting of each section, in the order of the class.
_SECTIONS = {
    "broker": "Kafka",
    "security_protocol": "Protection of the connections to Kafka",
    "record_format": "Records",
    "schema_registry_url": "Schema registry",
    "inference": "Model",
    "max_in_flight": "Documents in flight",
    "policy": "Documents",
    "health_host": "Process",
}
_HEAD = """# Settings

Every setting is an environment variable. `padellm config` shows the effective values and their origins, and
`padellm doctor` checks them against the machine, the broker and Triton. Docker Compose hands them on from the
environment of `docker compose up`, or from `.env`, but for the addresses and folders inside its containers.
[security](security.md) has the settings of each kind of login, by example.

- An empty variable counts as unset.
- A wrong value, or values that contradict each other, end a command at once; the message names the variables.
- A `PADELLM_` variable that is no setting is ignored; a warning names the nearest setting.
- Switches take `true`, `1`, `yes` and `on`, or `false`, `0`, `no` and `off`.

This page is generated: `make schemas` writes it anew from `stream/settings/settings.py`.
"""


def settings_page() -> str:
    """Write the page, as it must be committed."""
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            lines.append(f"\n## {_SECTIONS[name]}\n\n| Variable | Default | Meaning |\n|---|---|---|\n")
        names = ", ".join(f"`{variable}`" for variable in variables(name))
        lines.append(f"| {names} | {_default(name, field)} | {field.description} |\n")
    return "".join(lines)


def _default(name: str, field: FieldInfo) -> str:
    if name == "cache_dir":
        return "`~/.cache/padellm`"  # on Linux, without XDG_CACHE_HOME
    if field.default in {None, ()}:
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"
    return f"`{value.removesuffix('.0')}`"

"""The environment's settings, the machine, and the programs installed on it."""

import os
import platform
import sys
from collections.abc import Iterator

from pydantic import ValidationError

from stream.bundled import model_folder
from stream.doctor.finding import Finding, fail, ok, warn
from stream.errors import CheckpointError, StackError
from stream.local.java import find_java, locked_jars
from stream.local.kafka import VERSION
from stream.local.triton import why_unavailable
from stream.ner.config import NerConfig
from stream.settings import Inference, Settings
from stream.settings.variables import problems, unknown_variables

_GIGABYTE = 1 << 30
_ENOUGH_MEMORY = 2 * _GIGABYTE
_ENOUGH_CORES = 2


def check_settings() -> Iterator[Finding]:
    """Check the environment: values and contradictions of settings, and names that are no settings."""
    for variable, advice in unknown_variables().items():
        yield warn("settings", f"{variable} is not a setting and is ignored", advice)
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in problems(error):
            yield fail("settings", problem, "correct or unset it in the environment")
    else:
        given = ", ".join(sorted(settings.model_fields_set))
        yield ok("settings", f"valid; set by the environment: {given or 'none'} (padellm config)")


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Check Python, system, memory, Java, Kafka's jars, Triton's wheel and the model."""
    yield ok("python", f"{platform.python_version()} at {sys.executable}")
    yield _system()
    yield _resources()
    yield _java()
    yield _jars(settings)
    yield _triton_wheel(settings)
    yield _model(settings)


def _system() -> Finding:
    library, version = platform.libc_ver()
    return ok(
        "system",
        f"{platform.system()} {platform.machine()}, {library or 'C library unknown'} {version}".strip(),
    )


def _resources() -> Finding:
    cores = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = f"{cores} cores, {memory / _GIGABYTE:.1f} GB of memory"
    if memory < _ENOUGH_MEMORY or cores < _ENOUGH_CORES:
        return warn(
            "resources",
            found,
            f"{_ENOUGH_CORES} cores and {_ENOUGH_MEMORY // _GIGABYTE} GB are recommended",
        )
    return ok("resources", found)


def _java() -> Finding:
    try:
        java = find_java()
    except StackError as error:
        return warn("java", "none for the embedded Kafka", str(error))
    return ok("java", f"{java.version} at {java.program}")


def _jars(settings: Settings) -> Finding:
    folder = settings.cache_dir / f"kafka-{VERSION}"
    jars = locked_jars()
    found = sum((folder / jar.file_name).is_file() for jar in jars)
    if found < len(jars):
        return warn(
            "kafka",
            f"{found} of {len(jars)} jars in {folder}",
            "padellm up fetches the rest (45 MB in all)",
        )
    return ok("kafka", f"Apache Kafka {VERSION}, {len(jars)} jars in {folder}")


def _triton_wheel(settings: Settings) -> Finding:
    reason = why_unavailable()
    if reason is None:
        return ok("triton wheel", "the embedded Triton can run here")
    if settings.inference is Inference.IN_PROCESS or "triton_url" in settings.model_fields_set:
        return ok("triton wheel", f"{reason}; not needed with these settings")
    return warn("triton wheel", reason, "serve without Triton: padellm up --inference in-process")


def _model(settings: Settings) -> Finding:
    try:
        folder = model_folder(settings.model)
        config = NerConfig.load(folder)
    except CheckpointError as error:
        return fail("model", "cannot be read", str(error))
    return ok("model", f"{config.name} {config.version}, {len(config.labels)} labels, in {folder}")

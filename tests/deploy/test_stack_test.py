"""The parts of deploy/stack_test.py that need no Docker."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deploy"))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are read from /proc")
def test_shell_mounts_below_finds_mounts_and_no_neighbours(tmp_path):
    """A folder is cleared only where nothing is mounted: mounts in it are seen, those beside it are not."""
    from stacktest.shell import mounts_below

    assert "/proc" in mounts_below(Path("/proc"))
    assert mounts_below(Path("/pro")) == []
    assert mounts_below(tmp_path) == []


def test_shell_run_shows_the_end_of_the_output_of_a_failure():
    """The error for a failed program has its status and its last output."""
    from stacktest.shell import StackTestError, run

    with pytest.raises(StackTestError, match=r"status 3:\nno such thing"):
        run([sys.executable, "-c", "import sys; sys.exit(print('no such thing') or 3)"])


def test_shell_run_ends_a_slow_program():
    """A program that is not done in time is ended, and named."""
    from stacktest.shell import StackTestError, run

    with pytest.raises(StackTestError, match="not done after"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], patience=0.2)


def test_compose_base_images_are_what_no_service_builds():
    """Images without a build are pulled, and the base of those with one; each has a stand-in."""
    import yaml
    from stacktest.base_images import recipe_of
    from stacktest.compose import base_images

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    started = {"cpu", "monitoring"}
    chosen = {name: each for name, each in services.items() if started & set(each.get("profiles", started))}
    images = base_images({"services": chosen}, ROOT)
    assert [image.partition(":")[0] for image in images] == ["apache/kafka", "prom/prometheus", "python"]
    assert all(recipe_of(image).is_file() for image in images)


def test_stack_test_lays_stand_ins_over_pinned_images():
    """Where an image cannot be pulled by its digest, services run its stand-in, or are built on it."""
    import yaml
    from stacktest.base_images import base_of, overlay

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    chosen = {name: services[name] for name in ("kafka", "topics", "prometheus")}
    pinned = [services["kafka"]["image"], base_of(ROOT / services["topics"]["build"]["dockerfile"])]
    kafka, python = (image.partition("@")[0] for image in pinned)
    assert overlay(chosen, pinned, ROOT) == {
        "services": {"kafka": {"image": kafka}, "topics": {"build": {"args": {"PYTHON_IMAGE": python}}}}
    }
    assert overlay(chosen, [], ROOT) == {"services": {}}


def test_stack_test_has_its_documents():
    """The sample documents that the stack test sends exist."""
    import stack_test

    assert stack_test._SAMPLES.is_file()

"""What goes into the images: by hash alone, and as the tools of `make supply-chain` report it."""

import re
from pathlib import Path

import pytest

from deploy.supply_chain import listed, pinned, vulnerabilities

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_image_installs_by_hash_alone(dockerfile):
    """Each install of an image checks hashes, or takes our own wheel without fetching anything."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel|download)[^&\n]*", text)
    for install in installs:
        fetches_nothing = "--no-deps" in install and (
            "--no-index" in install or "--no-build-isolation" in install
        )
        assert "--require-hashes" in install or fetches_nothing, install


def test_image_builds_with_the_backend_of_the_package():
    """The pinned build backend is one that pyproject.toml allows, pinned by content."""
    text = (ROOT / "deploy" / "requirements" / "build.txt").read_text(encoding="utf-8")
    assert re.search(r"^hatchling==1\.\d+\.\d+ \\\n    --hash=sha256:", text, flags=re.MULTILINE)


def test_supply_chain_reads_pins_and_components_alike():
    """A package has one spelling, whether a lock or a bill of materials names it."""
    lock = "zope-event==6.2 \\\n    --hash=sha256:00\nuvloop==0.23.0 ; platform_system != 'Windows' \\\n"
    bill = {"components": [{"name": "zope.event", "version": "6.2"}, {"name": "uvloop", "version": "0.23.0"}]}
    assert pinned(lock) == listed(bill) == {"zope-event==6.2", "uvloop==0.23.0"}


def test_supply_chain_names_what_is_vulnerable_or_unknown():
    """A known vulnerability is named with its remedy, and so is a package without data among others."""
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]},
            {"name": "unknown", "skip_reason": "not found"},
        ]
    }
    assert vulnerabilities(report) == ["bad==1 has PYSEC-1 (mended in: 2)", "unknown: not found"]


def test_supply_chain_tells_no_data_from_no_vulnerability():
    """Without data about any package there is no answer, instead of a good one."""
    assert vulnerabilities({"dependencies": [{"name": "any", "skip_reason": "not found"}]}) is None

"""The patch that is offered to aiokafka."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import aiokafka

_PATCH = Path(__file__).parents[2] / "docs" / "upstream" / "aiokafka-newest-requests.patch"
_RUN_TESTS = """
import sys
sys.path.insert(0, ".")
import aiokafka, pytest
assert not aiokafka.__file__.startswith(sys.prefix), aiokafka.__file__
options = ["-c", "/dev/null", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"]
sys.exit(pytest.main([*options, "tests"]))
"""


def test_upstream_patch_applies_to_the_installed_aiokafka_and_its_tests_pass(tmp_path: Path):
    """The patch fits the release that this project is locked to, and its own tests pass on the result."""
    installed = Path(aiokafka.__file__).parent
    shutil.copytree(installed, tmp_path / "aiokafka", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    for command in (["git", "apply", str(_PATCH)], [sys.executable, "-c", _RUN_TESTS]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout

"""``make supply-chain``: what is in the images, under which licences, and with which known vulnerabilities.

For each image its pinned packages are installed as the image does, by hash, into an environment of their own.
From that come a bill of materials (CycloneDX) and a list of licences in dist/sbom, and the licences are held
against the list that pyproject.toml allows. The worker's image is the wheel with its dependencies and nothing
else of Python, so its bill is the wheel's too. Packages of Debian in the base image are not listed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
OUTPUT = ROOT / "dist" / "sbom"
IMAGES = ("worker", "triton")


def main() -> int:
    """Write bills and licences of all images; returns 1 where one of them fails."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    problems = [f"{image}: {problem}" for image in IMAGES for problem in _problems(image)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(IMAGES)} passed, {len(problems)} failed" if problems else f"bills of materials: {OUTPUT}")
    return 1 if problems else 0


def _problems(image: str) -> Iterator[str]:
    requirements = ROOT / "deploy" / "requirements" / f"{image}.txt"
    python = _installed(image, requirements)
    bill = OUTPUT / f"padellm-{image}.cdx.json"
    _run(
        "cyclonedx-py",
        "environment",
        python,
        f"--pyproject={ROOT / 'pyproject.toml'}",
        f"--output-file={bill}",
    )
    missing = pinned(requirements.read_text(encoding="utf-8")) - listed(json.loads(bill.read_text()))
    if missing:
        yield f"{bill.name} lacks {', '.join(sorted(missing))}"
    # It reads the allowed licences from [tool.pip-licenses].
    licences = OUTPUT / f"padellm-{image}-licences.md"
    checked = _run("pip-licenses", f"--python={python}", f"--output-file={licences}", check=False)
    if checked.returncode:
        yield f"a licence is not among those that pyproject.toml allows: {checked.stderr.strip()}"
    yield from _vulnerabilities(image, requirements)


def _installed(image: str, requirements: Path) -> str:
    environment = ROOT / ".venv-images" / image
    python = str(environment / "bin" / "python")
    _run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, environment)
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    _run(*install, "--require-hashes", "--requirement", requirements)
    _run(*install, "--no-deps", ROOT)
    return python


def _vulnerabilities(image: str, requirements: Path) -> Iterator[str]:
    asked = (
        "pip-audit",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner=off",
        f"--requirement={requirements}",
    )
    strict = _run(*asked, "--strict", check=False)
    if strict.returncode == 0:
        return
    # Without --strict it leaves out what it has no data about, and says so.
    report = _run(*asked, "--format=json", check=False)
    found = vulnerabilities(json.loads(report.stdout)) if report.stdout else [report.stderr.strip()]
    if found is None:
        print(
            f"SKIPPED: known vulnerabilities of {image}: pip-audit could not reach its data", file=sys.stderr
        )
        return
    yield from found


def pinned(requirements: str) -> set[str]:
    """Names and versions of a locked file of requirements, as ``name==version``."""
    return {line.split()[0] for line in requirements.splitlines() if line and line[0].isalnum()}


def listed(bill: dict[str, Any]) -> set[str]:
    """The same of the components of a CycloneDX bill."""
    return {f"{canonicalize_name(each['name'])}=={each['version']}" for each in bill["components"]}


def vulnerabilities(report: dict[str, Any]) -> list[str] | None:
    """Sentences about a report of pip-audit; None where it has no data about any package.

    Args:
        report: Its JSON.
    """
    packages = report["dependencies"]
    if all("skip_reason" in each for each in packages):
        return None
    known = [
        f"{each['name']}=={each['version']} has {fault['id']} (mended in: {', '.join(fault['fix_versions'])})"
        for each in packages
        for fault in each.get("vulns", ())
    ]
    return known + [f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]


def _run(program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=check
    )


if __name__ == "__main__":
    sys.exit(main())

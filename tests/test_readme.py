import ast
import json
import re
from pathlib import Path

import pytest

from stream import cli
from stream.contract.messages import EntityEvent, EntityRow
from stream.worker.metrics import WorkerMetrics

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "deploy/README.md",
    ROOT / "stream/local/samples/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_commands_exist(page):
    """Every `padellm` command that a page names exists, with the options that it names."""
    code = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in "\n".join(block or span for block, span in code).splitlines():
        for name, options in re.findall(r"\bpadellm ([a-z]+)(.*)", line):
            assert name in cli._COMMANDS, f"{page.name} names `padellm {name}`"
            command = cli._load(name)
            commands = [command, *getattr(command, "commands", {}).values()]
            known = {option for one in commands for each in one.params for option in each.opts} | {"--help"}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", options)) <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_links_resolve(page):
    """Every link to a file leads to one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_make_targets_exist(page):
    """Every `make` target that a page names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", [ROOT / "docs/structure.md"], ids=lambda page: page.name)
def test_readme_structure_names_real_files(page):
    """Every file that docs/structure.md names in backticks exists."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "stream" / name).exists()]
    assert not missing


# Tests that run the programs of the pages, by page and name.
SNIPPETS = {
    ("README.md", "extract"): "tests/test_readme.py::test_readme_extract_snippet_runs",
    ("README.md", "produce"): (
        "tests/integration/test_readme_snippets.py::test_readme_snippets_produce_a_document"
    ),
    (
        "README.md",
        "consume",
    ): "tests/integration/test_readme_snippets.py::test_readme_snippets_consume_an_event",
    ("docs/files.md", "annotate"): "tests/annotation/test_job.py::test_job_snippet_of_the_page_runs",
    ("docs/testing.md", "sync"): (
        "tests/testing/test_harness.py::test_harness_page_snippet_without_asyncio_runs"
    ),
    (
        "docs/testing.md",
        "async",
    ): "tests/testing/test_harness.py::test_harness_page_snippet_with_asyncio_runs",
    ("docs/spacy.md", "spacy"): "tests/test_spacy_component.py::test_spacy_component_page_runs",
    ("docs/downstream.md", "postgres"): "tests/clients/test_tables.py::test_tables_program_fills_postgres",
    (
        "docs/downstream.md",
        "newest",
    ): "tests/clients/test_tables.py::test_tables_upsert_makes_repeats_harmless",
    ("docs/downstream.md", "typescript"): (
        "tests/clients/test_clients.py::test_clients_typescript_reads_events"
    ),
    ("docs/downstream.md", "streams"): (
        "tests/clients/test_streams.py::test_streams_counts_each_entity_once"
    ),
    ("docs/downstream.md", "java"): "tests/clients/test_clients.py::test_clients_java_reads_events",
}


def test_readme_every_program_is_run():
    """Every program of a page has a mark: of a test that runs it, or that none does."""
    marked = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"<!-- snippet: (\w+) -->\n```", text)
        marked |= {(page.relative_to(ROOT).as_posix(), name) for name in found}
        plain = re.sub(r"<!-- (?:snippet|by hand): \w+ -->\n```", "", text)
        assert not re.search(r"^```(python|typescript|java|sql)$", plain, re.MULTILINE), page
    assert marked == SNIPPETS.keys()
    for test in SNIPPETS.values():
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_readme_snippets_are_python():
    """The README's Python compiles."""
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        ast.parse(snippet)


def test_readme_event_is_valid():
    """The event and the row that docs/messages.md shows satisfy the contract."""
    page = (ROOT / "docs/messages.md").read_text(encoding="utf-8")
    event, row = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    EntityEvent.model_validate_json(event)
    assert json.loads(row).keys() == EntityRow.model_validate_json(row).model_dump().keys()


def test_readme_operations_names_every_metric():
    """docs/operations.md explains every metric of the worker, and none that is not there."""
    samples = {"counter": "_total", "info": "_info"}
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    served = {metric.name + samples.get(metric.type, "") for metric in WorkerMetrics().registry.collect()}
    assert set(re.findall(r"`(padellm_\w+)", page)) == served


def test_readme_extract_snippet_runs(capsys):
    """The README's Python API program prints entities."""
    (program,) = re.findall(r"<!-- snippet: extract -->\n```python\n(.*?)```", README, re.DOTALL)
    exec(program, {})
    assert "person Ada Lovelace 0 12" in capsys.readouterr().out

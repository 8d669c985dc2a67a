"""The generated clients: compiled, and reading events of the worker with text beyond the basic plane."""

import json
import re
import shutil
from pathlib import Path

import pytest

from stream.contract.messages import Document
from stream.offsets import OffsetUnit
from stream.schemas.asyncapi import contract_files
from stream.schemas.clients import client_files
from stream.settings import Settings
from stream.testing import SyncHarness
from tests.clients.compilers import CompilationError, JavaProject, NodeProject

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
PAGE = (ROOT / "docs/downstream.md").read_text(encoding="utf-8")
ANSWERS = {"person": ["Ada 👩🏽‍💻 Lovelace", "Zoë"], "location": ["𝕃ondon"]}
_NODE = """
const { entitiesOf } = require("./recipe");
for (const line of require("fs").readFileSync(process.argv[1], "utf8").trim().split("\\n")) {
  const { value, text } = JSON.parse(line);
  console.log(JSON.stringify(entitiesOf(value, text)));
}
"""
_MAIN = """
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.*;

public class Main {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            JsonNode pair = json.readTree(line);
            System.out.println(
                json.writeValueAsString(Entities.of(pair.get("value").asText(), pair.get("text").asText())));
        }
    }
}
"""


def snippet(name: str) -> str:
    """The code of the page under the comment that names it."""
    (code,) = re.findall(rf"<!-- snippet: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> tuple[Path, list[list[str]]]:
    """A file with 100 texts and the worker's events of them, and the entities of each."""
    texts = [f"{'🚀' * (n % 7)} Ada 👩🏽‍💻 Lovelace met Zoë, n° {n}, in 𝕃ondon 🏙." for n in range(100)]
    with SyncHarness(ANSWERS, settings=Settings(offsets=OffsetUnit.UTF_16)) as service:
        for number, text in enumerate(texts):
            service.send(Document(id=str(number), text=text, metadata={"n": number}))
        values = [record.value.decode() for record in service.events()]
    pairs = [{"value": value, "text": text} for value, text in zip(values, texts, strict=True)]
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    entities = [json.loads(value)["entities"] for value in values]
    return file, [[f"{each['label']}: {each['text']}" for each in found] for found in entities]


def _lists(output: str) -> list[list[str]]:
    return [json.loads(line) for line in output.splitlines()]


def test_clients_files_equal_the_code():
    """The committed clients are what ``make schemas`` writes, no more and no fewer."""
    committed = {
        path.relative_to(CLIENTS).as_posix(): path.read_text(encoding="utf-8")
        for path in CLIENTS.rglob("*")
        if path.is_file()
    }
    assert committed == client_files(contract_files())


def test_clients_refuse_a_schema_without_a_counterpart():
    """A keyword that the generator does not know is an error, and no wrong type."""
    contract = contract_files()
    schema = json.loads(contract["entity-row.schema.json"])
    schema["properties"]["text"] = {"not": {"type": "string"}}
    with pytest.raises(TypeError, match=r"no counterpart is known for \{'not'"):
        client_files(contract | {"entity-row.schema.json": json.dumps(schema)})


@pytest.mark.integration
def test_clients_typescript_reads_events(tmp_path, events):
    """The page's TypeScript compiles, and cuts the entities of 100 events out of texts with emoji."""
    file, expected = events
    project = NodeProject(tmp_path)
    shutil.copy(CLIENTS / "typescript/padellm.ts", tmp_path)
    code = snippet("typescript")
    (tmp_path / "recipe.ts").write_text(code, encoding="utf-8")
    project.compile("recipe.ts")
    assert _lists(project.run(_NODE, file)) == expected
    assert len(expected) == 100
    assert all(len(found) == 3 for found in expected)
    (tmp_path / "wrong.ts").write_text(code.replace("entity.start", "entity.begin"), encoding="utf-8")
    with pytest.raises(CompilationError, match="Property 'begin' does not exist on type 'Entity'"):
        project.compile("wrong.ts")


@pytest.mark.integration
def test_clients_java_reads_events(tmp_path, events):
    """The page's Java compiles, and cuts the entities of 100 events out of texts with emoji."""
    file, expected = events
    project = JavaProject(tmp_path)
    shutil.copytree(CLIENTS / "java", tmp_path, dirs_exist_ok=True)
    code = snippet("java")
    (tmp_path / "Entities.java").write_text(code, encoding="utf-8")
    (tmp_path / "Main.java").write_text(_MAIN, encoding="utf-8")
    project.compile("padellm/Messages.java", "Entities.java", "Main.java")
    assert _lists(project.run("Main", file)) == expected
    (tmp_path / "Entities.java").write_text(
        code.replace("entity.start()", "entity.begin()"), encoding="utf-8"
    )
    with pytest.raises(CompilationError, match="begin"):
        project.compile("padellm/Messages.java", "Entities.java")

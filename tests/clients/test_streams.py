"""The Kafka Streams program of docs/downstream.md, over rows of the worker, in Kafka's own test driver."""

import json
import shutil

import pytest

from stream.contract.messages import Document
from stream.settings import Settings
from stream.testing import Harness
from tests.clients.compilers import KAFKA_STREAMS, JavaProject
from tests.clients.test_clients import CLIENTS, snippet

_MAIN = """
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers;

public class Main {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, InMemoryDslStoreSuppliers.class);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        try (TopologyTestDriver driver = new TopologyTestDriver(LabelCounts.topology(), settings)) {
            TestInputTopic<String, String> rows =
                driver.createInputTopic("entity-rows", new StringSerializer(), new StringSerializer());
            for (String row : Files.readAllLines(Path.of(arguments[0]))) rows.pipeInput("document", row);
            driver.createOutputTopic("label-counts", new StringDeserializer(), new LongDeserializer())
                .readKeyValuesToMap()
                .forEach((label, count) -> System.out.println(label + " " + count));
        }
    }
}
"""


@pytest.mark.integration
async def test_streams_counts_each_entity_once(tmp_path):
    """The page's topology counts the entities by label, and a repeated document adds none."""
    answers = {"person": ["Ada Lovelace", "Zo\u00eb \U0001f680"], "location": ["London"]}
    async with Harness(answers, settings=Settings(entity_rows_topic="entity-rows")) as service:
        text = "Ada Lovelace met Zo\u00eb \U0001f680 in London."
        first = await service.send(Document(id="a", text=text), partition=0)
        await service.send(Document(id="none", text="It rained."), partition=0)
        await service.redeliver(first)
        rows = [record.value for record in await service.rows()]
    assert len(rows) == 8
    assert {json.loads(row)["number"] for row in rows} == {0, 1, 2, 3}
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))

    project = JavaProject(tmp_path, *KAFKA_STREAMS)
    shutil.copytree(CLIENTS / "java", tmp_path, dirs_exist_ok=True)
    (tmp_path / "LabelCounts.java").write_text(snippet("streams"), encoding="utf-8")
    (tmp_path / "Main.java").write_text(_MAIN, encoding="utf-8")
    project.compile("padellm/Messages.java", "LabelCounts.java", "Main.java")
    counts = project.run("Main", tmp_path / "rows.jsonl", tmp_path / "state")
    assert sorted(counts.splitlines()) == ["location 1", "person 2"]

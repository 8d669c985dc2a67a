"""A change of model that rolls over the servers while documents are in flight."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.contract.record import Record
from stream.generation import Completion, ModelStamp, Prompt
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import serve_with
from tests.integration.scripted_worker import ScriptedGenerator
from tests.tiny_model import write_tiny_checkpoint
from tests.worker.conftest import RecordingPublisher

OLD, NEW = ModelStamp("a" * 64, "small", "1"), ModelStamp("b" * 64, "small", "2")


class RollingGenerator(ScriptedGenerator):
    """Answers each next prompt with the next model of its plan, and then with the last one.

    Attributes:
        made: The models of the answers so far, by text.
    """

    def __init__(self, folder: Path, plan: list[ModelStamp]) -> None:
        super().__init__(folder)
        self._plan = plan
        self.made: dict[str, list[ModelStamp]] = {}

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer, and say which model did."""
        completion = await super().generate(prompt)
        stamp = self._plan.pop(0) if len(self._plan) > 1 else self._plan[0]
        self.made.setdefault(self._text(prompt), []).append(stamp)
        return Completion(completion.ids, completion.log_probs, model=stamp)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny checkpoint."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


async def _event(folder: Path, generator: ScriptedGenerator, value: dict, **options) -> dict:
    publisher, metrics = RecordingPublisher(), WorkerMetrics()
    chosen = Settings(**options)
    model = serve_with(chosen, PromptTemplate.load(folder), generator, metrics, lambda: None)
    handler = Handler(chosen, model, publisher, metrics, DependencyStatus("model", metrics))
    await handler.handle(Record("docs", 0, 1, value=json.dumps(value).encode()), 0.0)
    (message,) = publisher.sent
    return json.loads(message.value)


async def test_rolling_change_event_names_the_model_that_made_it(folder):
    """The event has name, version and checkpoint as the server states them, and an id of its own."""
    document = {"id": "d", "text": "Ada wrote"}
    one, two = [await _event(folder, RollingGenerator(folder, [stamp]), document) for stamp in (OLD, NEW)]
    for event, stamp in ((one, OLD), (two, NEW)):
        assert event["model"]["checkpoint"] == stamp.checkpoint
        assert (event["model"]["name"], event["model"]["version"]) == (stamp.name, stamp.version)
    assert one["event_id"] != two["event_id"]
    silent = await _event(folder, ScriptedGenerator(folder), document)
    assert "checkpoint" not in silent["model"]


@given(plan=st.lists(st.sampled_from([OLD, NEW]), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("no_pauses")
async def test_rolling_change_document_is_of_one_model(folder, plan):
    """Whatever the order of models, the event's last answers are all of the model that it names."""
    generator = RollingGenerator(folder, plan)
    event = await _event(folder, generator, {"id": "d", "text": "Ada wrote", "labels": ["person", "place"]})
    (made,) = generator.made.values()
    assert {stamp.checkpoint for stamp in made[-3:]} == {event["model"]["checkpoint"]}  # 2 counts, 1 mention
    assert [entity["text"] for entity in event["entities"]] == ["Ada"]


@pytest.mark.usefixtures("no_pauses")
async def test_rolling_change_texts_of_a_record_are_of_one_model(folder):
    """Both texts of a record are asked anew where one model answered about each."""
    fields = {"record_format": "json", "text_pointers": "/a,/b", "labels_pointer": "/labels"}
    value = {"a": "Ada wrote", "b": "Eva read", "labels": ["person"]}
    generator = RollingGenerator(folder, [OLD, OLD, OLD, NEW, NEW, NEW, NEW])
    event = await _event(folder, generator, value, **fields)
    assert event["model"]["checkpoint"] == NEW.checkpoint
    assert all(made[-2:] == [NEW, NEW] for made in generator.made.values())

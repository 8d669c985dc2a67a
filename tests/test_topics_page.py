"""The page docs/topics.md: each shape of a record, through the worker, to the entities shown."""

import json
import re
from pathlib import Path

import pytest

from stream.settings import Settings
from stream.settings.variables import variables
from stream.testing import SyncHarness

PAGE = (Path(__file__).parent.parent / "docs" / "topics.md").read_text(encoding="utf-8")
SHAPES = dict(re.findall(r"<!-- shape: (\w+) -->\n(.*?)(?=\n## )", PAGE, re.DOTALL))
ANSWERS = {"person": ["Ada Lovelace", "Charles Babbage"], "location": ["London"]}
FIELDS = {variables(name)[-1]: name for name in Settings.model_fields}


def blocks(shape: str) -> tuple[str, Settings, list[dict[str, object]]]:
    """The record of a shape, its settings, and the entities that the page shows."""
    record, assignments, entities = re.findall(r"```\w+\n(.*?)\n```", SHAPES[shape], re.DOTALL)
    given = dict(line.split("=", 1) for line in assignments.splitlines())
    return record, Settings(**{FIELDS[name]: value for name, value in given.items()}), json.loads(entities)


def event_of(record: bytes, settings: Settings, headers=()) -> dict[str, object]:
    """The event that the worker makes of a record."""
    with SyncHarness(ANSWERS, settings=settings) as service:
        service.send(record, key=b"key", headers=headers)
        (event,) = service.events()
    return json.loads(event.value)


@pytest.mark.parametrize("shape", ["ticket", "article", "row", "cloudevent", "log"])
def test_topics_page_shapes_become_the_entities_shown(shape):
    """A record of every shape becomes, with the settings beside it, the entities that the page shows."""
    record, settings, expected = blocks(shape)
    event = event_of(record.encode(), settings)
    kept = ("field", "text", "label", "start", "end")
    assert [{name: each[name] for name in kept if name in each} for each in event["entities"]] == expected
    ids = {"ticket": "4711", "article": "analytical-engine", "row": "7", "cloudevent": "b1f0", "log": "key"}
    assert event["document_id"] == ids[shape]


def test_topics_page_ticket_carries_its_priority():
    """The ticket's metadata are those that the page names."""
    record, settings, _ = blocks("ticket")
    assert event_of(record.encode(), settings)["metadata"] == {"/priority": 2}


def test_topics_page_cloudevent_may_come_in_binary_mode():
    """The settings of the CloudEvent read the same event in binary mode too."""
    record, settings, expected = blocks("cloudevent")
    attributes = json.loads(record)
    data = attributes.pop("data")
    headers = [("content-type", attributes.pop("datacontenttype").encode())]
    headers += [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    event = event_of(json.dumps(data).encode(), settings, headers)
    assert [each["text"] for each in event["entities"]] == [each["text"] for each in expected]
    assert (event["document_id"], event["metadata"]) == ("b1f0", {"/subject": "product/9"})


def test_topics_page_names_every_setting_and_reason_rightly():
    """Every variable on the page is a setting."""
    named = set(re.findall(r"PADELLM_\w+", PAGE))
    assert named <= {variable for name in Settings.model_fields for variable in variables(name)}

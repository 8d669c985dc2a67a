"""Settings that are proposed for a topic."""

import json

import pytest

from stream.contract.record import Record
from stream.doctor.topic import Proposal, propose
from stream.settings import Settings
from tests.integration.record_shapes import SHAPES


def proposed(*values: object, headers=()) -> Proposal:
    """The proposal for records of some values; what is no bytes is written as JSON."""
    raws = [
        value if value is None or isinstance(value, bytes) else json.dumps(value).encode() for value in values
    ]
    records = [
        Record("docs", 0, offset, key=b"k", value=raw, headers=headers) for offset, raw in enumerate(raws)
    ]
    return propose(records, Settings(documents_topic="docs"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("ticket", {"RECORD_FORMAT": "json", "TEXT_POINTERS": "/subject,/messages/0/body"}),
        ("article", {"RECORD_FORMAT": "json", "TEXT_POINTERS": "/html", "OPTIONAL_TEXT_POINTERS": "/teaser"}),
        (
            "row",
            {
                "RECORD_FORMAT": "debezium",
                "TEXT_POINTERS": "/after/title,/after/body",
                "ID_POINTER": "/after/id",
            },
        ),
        (
            "cloudevent",
            {"RECORD_FORMAT": "cloudevents", "TEXT_POINTERS": "/data/review", "ID_POINTER": "/id"},
        ),
        ("log", {"RECORD_FORMAT": "text"}),
    ],
)
def test_topic_shapes_are_recognised(shape, expected):
    """The form, the texts and the id of every common shape are found, and the settings read its records."""
    made = [SHAPES[shape].make(number) for number in range(20)]
    records = [
        Record("docs", 0, offset, key=one.key, value=one.value, headers=one.headers)
        for offset, one in enumerate(made)
    ]
    proposal = propose(records, Settings(documents_topic="docs"))
    wanted = {f"PADELLM_{name}": value for name, value in expected.items()}
    assert proposal.settings == {"PADELLM_DOCUMENTS_TOPIC": "docs"} | wanted
    assert [finding.grade for finding in proposal.findings] == ["ok"]


def test_topic_of_our_own_documents_needs_no_pointers():
    """Documents of our own format are recognised."""
    proposal = proposed({"id": "1", "text": "Ada"}, {"text": "Eva", "labels": ["person"]})
    assert proposal.settings["PADELLM_RECORD_FORMAT"] == "document"


def test_topic_bad_records_are_counted_with_their_reason():
    """Records that the proposed settings do not fit are a warning with the reason of their dead letter."""
    good = [{"id": number, "body": "a text of some more words"} for number in range(9)]
    proposal = proposed(*good, b"not JSON")
    assert [finding.grade for finding in proposal.findings] == ["ok", "warn"]
    assert "1 of 10: not_json" in proposal.findings[1].found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([None, None], "tombstone"),
        ([b"\0\0\0\0\7abc"], "Schema Registry"),
        ([b"\xff\xfe\x00"], "neither text"),
        ([{"temperature": 21.5, "sensor": "a-7"}], "no string in it reads like a text"),
    ],
)
def test_topic_without_texts_is_a_failure_with_a_remedy(values, found):
    """Where no settings can help there are none, and the finding says what to do."""
    proposal = proposed(*values)
    (finding,) = proposal.findings
    assert proposal.settings == {}
    assert (finding.grade, found in finding.found, bool(finding.fix)) == ("fail", True, True)

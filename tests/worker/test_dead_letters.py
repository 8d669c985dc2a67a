"""Dead letters: the original record beside a reason, cut to what the topic takes."""

import pytest

from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.dead_letters import DeadLetters


@pytest.fixture
def dead_letters(publisher, metrics):
    """Dead letters to the topic ``dead``."""
    return DeadLetters(Settings(dead_letters_topic="dead"), publisher, metrics)


async def test_dead_letter_holds_the_original(dead_letters, publisher):
    """Key, bytes and headers are those of the record."""
    record = Record("docs", 1, 7, key=b"\xff", value=b"\xfe", headers=(("h", None),))
    await dead_letters.publish(record, Reason.NOT_JSON, "why")
    (letter,) = publisher.sent
    assert (letter.topic, letter.key, letter.value, letter.headers[0]) == (
        "dead",
        b"\xff",
        b"\xfe",
        ("h", None),
    )


async def test_dead_letter_of_nothing_can_be_sent(dead_letters, publisher):
    """A tombstone without a key, which Kafka would not take as a message, has an empty value."""
    await dead_letters.publish(Record("docs", 1, 7), Reason.TOMBSTONE, "why")
    (letter,) = publisher.sent
    assert (letter.key, letter.value) == (None, b"")


@pytest.mark.parametrize(
    ("limit", "kept"), [(9_000_000, 5_000_000), (1_000_000, 524_288), (100_000, 0), (5_000, 0)]
)
async def test_dead_letter_is_cut_to_what_the_topic_takes(dead_letters, publisher, limit, kept):
    """An original that does not fit is kept as far as it fits, beside its size."""
    publisher.limits["dead"] = limit
    value = b"\xff" * 5_000_000
    record = Record("docs", 1, 7, value=value, headers=(("h", b"x" * 10_000),))
    await dead_letters.publish(record, Reason.NOT_JSON, "why")
    (letter,) = publisher.sent
    assert len(letter.value) == kept
    assert dict(letter.headers).get("padellm.truncated") == (None if kept == len(value) else b"5000000")


@pytest.mark.parametrize("limit", [10_000_000, 100_000, 5_000])
async def test_dead_letter_for_a_compacted_topic_has_a_key(dead_letters, publisher, limit):
    """A record without a key gets its position as one where the topic takes none without, cut or not."""
    publisher.compacted.add("dead")
    publisher.limits["dead"] = limit
    record = Record("docs", 1, 7, value=b"\xff" * 200_000, headers=(("h", b"x" * 10_000),))
    await dead_letters.publish(record, Reason.NOT_JSON, "why")
    (letter,) = publisher.sent
    assert letter.key == b"docs/1/7"


async def test_dead_letter_that_fits_in_no_form_is_no_outcome(dead_letters, publisher, metrics):
    """A topic that takes not even the bare reason makes an error, and nothing counts as published."""
    publisher.limits["dead"] = 100
    with pytest.raises(DeliveryError, match="topic dead takes this dead letter in no form"):
        await dead_letters.publish(Record("docs", 1, 7, value=b"x"), Reason.NOT_JSON, "why")
    assert publisher.sent == []
    assert metrics.registry.get_sample_value("padellm_documents_total", {"outcome": "dead_letter"}) == 0

"""Dead letters sent again."""

import pytest

from stream.contract.failures import Failure, HeaderFamily
from stream.contract.record import Record
from stream.kafka.replay import plan_replay, replayed_record
from tests.kafka.letters import letter


def _plan(*letters, replayed=(), **options):
    return plan_replay(letters, replayed, documents_topic="docs", most_replays=3, **options)


def test_replay_sends_each_document_once():
    """What an earlier run has sent is done, and so is a second dead letter of one document."""
    plan = _plan(letter(0), letter(1), letter(1), letter(2), replayed={"docs/0/0"})
    assert ([each.source for each in plan.send], [each.source for each in plan.done], plan.refused) == (
        [(0, 1), (0, 2)],
        [(0, 0), (0, 1)],
        [],
    )


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (letter(0, topic="orders"), "PADELLM_DOCUMENTS_TOPIC=orders"),
        (letter(0, topic=None), "do not name topic"),
        (letter(0, partition=None), "do not name topic"),
        (letter(0, size=524_288, truncated=5_000_000), "only 524,288 of its 5,000,000 bytes were kept"),
        (letter(0, size=0, truncated=20), "only 0 of its 20 bytes were kept"),
        (letter(0, size=None), "it has no value"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_replay_refuses_what_cannot_be_sent_whole(refused, why, force):
    """A dead letter that lacks a part of its document, or is of another topic, is refused for a reason."""
    plan = _plan(refused, force=force)
    assert (plan.send, plan.refused[0][0]) == ([], refused)
    assert why in plan.refused[0][1]


def test_replay_ends_after_so_many_times_unless_forced():
    """A document that failed after each of so many replays is sent again only by force."""
    plan = _plan(letter(0, replays=2), letter(1, replays=3))
    assert [each.source for each in plan.send] == [(0, 0)]
    assert "sent again 3 times" in plan.refused[0][1]
    assert len(_plan(letter(1, replays=3), force=True).send) == 1


def test_replay_of_a_tombstone_is_a_tombstone():
    """A tombstone, which a dead letter without a key holds as an empty value, is sent as it was."""
    assert len(_plan(letter(0, size=None, reason="tombstone")).send) == 1
    failure = Failure(HeaderFamily.KAFKA, "docs", 0, 7, reason="tombstone")
    again = replayed_record(Record("dead", 0, 0, value=b""), failure, {0})
    assert (again.key, again.value) == (b"docs/0/7", None)


@pytest.mark.parametrize(
    ("key", "value", "sent"),
    [
        (b"k", b'{"text": "x"}', b"k"),
        (b"\xff", b"\xff", b"\xff"),
        (b"", b"{}", b""),
        (None, b'{"id": "own", "text": "x"}', None),
        (None, b'{"text": "x"}', b"docs/0/7"),
        (None, b"\xff", b"docs/0/7"),
    ],
)
def test_replay_keeps_key_value_and_id(key, value, sent):
    """Key and value are those of the document; one without id and key gets its position as its key."""
    headers = (("h", b"1"), ("__dlq.errors.topic", b"docs"))
    failure = Failure(HeaderFamily.KAFKA, "docs", 0, 7)
    again = replayed_record(Record("dead", 0, 0, key=key, value=value, headers=headers), failure, {0})
    assert (again.key, again.value) == (sent, value)
    assert again.headers == [("h", b"1"), ("padellm.replays", b"1"), ("padellm.replay-of", b"docs/0/7")]


def test_replay_goes_to_the_partition_of_the_document():
    """A document goes back to its partition, or by its key where there is no such partition any more."""
    record, failure = Record("dead", 0, 0, key=b"k"), Failure(HeaderFamily.KAFKA, "docs", 2, 7)
    assert replayed_record(record, failure, {0, 1, 2}).partition == 2
    assert replayed_record(record, failure, {0, 1}).partition is None

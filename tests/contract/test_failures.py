"""Failures in the headers of dead letters."""

from dataclasses import replace

import pytest

from stream.contract.failures import Failure, HeaderFamily, read_failure, replayed_headers
from stream.contract.headers import dead_letter_headers
from stream.contract.messages import DeadLetter
from stream.contract.reasons import Stage
from stream.contract.record import Record

LETTER = DeadLetter(
    topic="docs", partition=2, offset=41, group="g", message="no", stage=Stage.COUNT, reason="r", attempts=3
)
RECORD = Record("docs", 2, 41, key=b"k", value=b"v", headers=(("a", b"1"), ("n", None), ("a", b"2")))
OWN = dead_letter_headers(LETTER, RECORD, truncated=False)
CONNECT = (
    ("__connect.errors.topic", b"docs"),
    ("__connect.errors.partition", b"2"),
    ("__connect.errors.offset", b"41"),
    ("__connect.errors.connector.name", b"sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"DataException"),
    ("__connect.errors.exception.message", b"no"),
    ("__connect.errors.exception.stacktrace", b"\xff"),
)
STREAMS = (
    ("__streams.errors.exception", b"SerializationException"),
    ("__streams.errors.stacktrace", b"at ..."),
    ("__streams.errors.message", b"no"),
    ("__streams.errors.topic", b"docs"),
    ("__streams.errors.partition", b"2"),
    ("__streams.errors.offset", b"41"),
)
SHARE_GROUP = (
    ("__dlq.errors.topic", b"docs"),
    ("__dlq.errors.partition", b"2"),
    ("__dlq.errors.offset", b"41"),
    ("__dlq.errors.group", b"g"),
    ("__dlq.errors.delivery.count", b"5"),
    ("__dlq.errors.message", b"Offset rejected by client."),
)
SPRING = (
    ("kafka_dlt-original-topic", b"docs"),
    ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
    ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x00\x29"),
    ("kafka_dlt-original-timestamp", b"\x00\x00\x01\x8b\xcf\xe5\x68\x00"),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"g"),
    ("kafka_dlt-exception-fqcn", b"ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"IllegalStateException"),
    ("kafka_dlt-exception-message", b"no"),
)


@pytest.mark.parametrize(
    ("headers", "failure"),
    [
        (OWN, Failure(HeaderFamily.KAFKA, "docs", 2, 41, "count", "r", "no", attempts=3)),
        (
            CONNECT,
            Failure(HeaderFamily.CONNECT, "docs", 2, 41, "VALUE_CONVERTER", "DataException", "no"),
        ),
        (STREAMS, Failure(HeaderFamily.STREAMS, "docs", 2, 41, "", "SerializationException", "no")),
        (
            SHARE_GROUP,
            Failure(HeaderFamily.KAFKA, "docs", 2, 41, "", "", "Offset rejected by client.", attempts=5),
        ),
        (SPRING, Failure(HeaderFamily.SPRING, "docs", 2, 41, "", "IllegalStateException", "no")),
    ],
    ids=["own", "connect", "streams", "share group", "spring"],
)
def test_failure_of_each_family_is_read(headers, failure):
    """Every family gives origin, reason and message, Spring's from its binary numbers."""
    assert read_failure((("other", b"1"), *headers)) == failure


def test_failure_numbers_that_are_none_are_unknown():
    """Numbers in another family's encoding, negative, missing or endless are not known, and no error."""
    spoilt = {
        "__dlq.errors.partition": b"\x00\x00\x00\x02",
        "__dlq.errors.offset": b"9" * 5000,
        "__dlq.errors.delivery.count": None,
        "padellm.truncated": b"-1",
    }
    failure = read_failure(tuple((dict(OWN) | spoilt).items()))
    assert failure == Failure(HeaderFamily.KAFKA, "docs", None, None, "count", "r", "no")
    assert failure.position == "docs/?/?"
    text = {"kafka_dlt-original-partition": b"2", "kafka_dlt-original-offset": b"\xff" * 8}
    spring = read_failure(tuple((dict(SPRING) | text).items()))
    assert (spring.partition, spring.offset) == (None, None)


def test_failure_is_that_of_the_last_writer():
    """Of a record that failed twice the last failure is read: of two families, and of one."""
    assert read_failure((*CONNECT, *OWN)).family == HeaderFamily.KAFKA
    assert read_failure((*OWN, *CONNECT)).family == HeaderFamily.CONNECT
    later = (("kafka_dlt-original-topic", b"docs-retry"),)
    assert read_failure((*SPRING, *later)).topic == "docs-retry"


@pytest.mark.parametrize("headers", [(), (("padellm.stage", b"count"), ("h", None))])
def test_failure_needs_headers_of_a_family(headers):
    """A record without them is no dead letter."""
    assert read_failure(headers) is None


def test_failure_says_how_much_was_cut():
    """The size of a value that was cut is read."""
    assert read_failure(dead_letter_headers(LETTER, RECORD, truncated=True)).truncated == 1


@pytest.mark.parametrize("headers", [OWN, *((*RECORD.headers, *each) for each in (CONNECT, STREAMS, SPRING))])
def test_replay_restores_the_headers_of_the_record(headers):
    """A replay has the record's own headers again, a count of one, and the position."""
    again = replayed_headers(replace(RECORD, headers=headers), read_failure(headers))
    assert again == (*RECORD.headers, ("padellm.replays", b"1"), ("padellm.replay-of", b"docs/2/41"))


def test_failure_with_springs_headers_beside_is_the_same_to_all_readers():
    """Spring's headers give the same failure to a reader of Spring's, and a replay drops them."""
    both = dead_letter_headers(
        LETTER, replace(RECORD, timestamp=1_700_000_000.5), truncated=False, spring=True
    )
    assert read_failure(both) == read_failure(OWN)
    spring = tuple(each for each in both if each[0].startswith("kafka_dlt-"))
    assert read_failure(spring) == Failure(HeaderFamily.SPRING, "docs", 2, 41, "", "r", "no")
    assert dict(spring)["kafka_dlt-original-timestamp"] == (1_700_000_000_500).to_bytes(8)
    assert replayed_headers(replace(RECORD, headers=both), read_failure(both))[:3] == RECORD.headers


@pytest.mark.parametrize("timestamp", [None, 1e16, -1e16])
def test_failure_without_a_date_has_no_timestamp_of_springs(timestamp):
    """A timestamp that is no date is left out."""
    headers = dead_letter_headers(LETTER, replace(RECORD, timestamp=timestamp), truncated=False, spring=True)
    assert "kafka_dlt-original-timestamp" not in dict(headers)


def test_replay_counts_on_and_keeps_what_others_wrote():
    """A replay of a replay counts two, names the newer position, and keeps an older failure's headers."""
    first = (*CONNECT, ("padellm.replays", b"1"), ("padellm.replay-of", b"docs/0/1"), ("\udcff", b"x"))
    headers = dead_letter_headers(LETTER, replace(RECORD, headers=first), truncated=False)
    failure = read_failure(headers)
    assert failure.replays == 1
    assert replayed_headers(replace(RECORD, headers=headers), failure) == (
        *CONNECT,
        ("\\xff", b"x"),
        ("padellm.replays", b"2"),
        ("padellm.replay-of", b"docs/2/41"),
    )

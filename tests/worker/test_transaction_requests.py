"""Encoding of the transaction requests, against bytes written out after Kafka's protocol guide.

In flexible versions a string or array begins with its length plus one as a varint, null is 0, and each
structure ends with the number of its tagged fields.
"""

from io import BytesIO

import pytest

from stream.worker.transaction_requests import (
    ApiVersionsResponseV3,
    EndTxn,
    EndTxnResponseV5,
    Features,
    OffsetFetchResponseV7,
    StableOffsetFetch,
    TxnOffsetCommit,
    TxnOffsetCommitResponseV3,
    transaction_version,
)

VERSIONS = {9: (1, 10), 26: (0, 5), 28: (0, 5)}  # of Kafka 4.3
PRODUCER = "00 00 00 00 00 00 00 07" + "00 02"  # id 7, epoch 2


def _bytes(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


@pytest.mark.parametrize("instance", [None, "i1"])
def test_txn_offset_commit_bears_member_and_generation(instance):
    """Version 3 holds group, generation, member and instance beside the producer's identity."""
    request = TxnOffsetCommit(("t/0", 7, 2), ("g", 5, "me", instance), ("docs", 1), 300).prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION) == (28, 3)
    assert request.encode() == _bytes(
        "04 742f30",  # transactional id "t/0"
        "02 67",  # group "g"
        PRODUCER,
        "00 00 00 05",  # generation
        "03 6d65",  # member "me"
        "00" if instance is None else "03 6931",
        "02",  # one topic
        "05 646f6373",  # "docs"
        "02",  # one partition
        "00 00 00 01",  # its number
        "00 00 00 00 00 00 01 2c",  # offset 300
        "ff ff ff ff",  # leader epoch unknown
        "01",  # empty metadata
        "00 00 00",  # tags of partition, topic and request
    )
    header = request.build_request_header(correlation_id=9, client_id="c").encode()
    assert header == _bytes("00 1c", "00 03", "00 00 00 09", "00 01 63", "00")


def test_end_txn_has_tags():
    """Version 5 holds the producer's identity, the commit and tags."""
    request = EndTxn("t/0", 7, 2).prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION) == (26, 5)
    assert request.encode() == _bytes("04 742f30", PRODUCER, "01", "00")


def test_features_are_asked_for_in_a_version_that_has_them():
    """Version 3 names the program; its answer has the old header and the features under tag 2."""
    request = Features().prepare({18: (0, 4)})
    assert request.encode() == _bytes("08 706164656c6c6d", "02 31", "00")
    assert request.parse_response_header(BytesIO(_bytes("00 00 00 09"))).correlation_id == 9


@pytest.mark.parametrize(
    ("features", "version"),
    [
        ("02 14 7472616e73616374696f6e2e76657273696f6e 00 02 00 02 00", 2),
        ("02 0e 67726f75702e76657273696f6e 00 01 00 01 00", 0),
        ("01", 0),
    ],
)
def test_transaction_version_is_a_feature(features, version):
    """The version is that of transaction.version; a cluster without the feature has 0."""
    data = _bytes(features)
    answer = _bytes("00 00", "02 00 1a 00 00 00 05 00", "00 00 00 00", "02", "01 08", "00" * 8, "02")
    decoded = ApiVersionsResponseV3.decode(BytesIO(answer + bytes([len(data)]) + data))
    assert transaction_version(decoded) == version


def test_end_txn_answer_holds_the_next_identity():
    """Version 5 gives the id and epoch of the next transaction."""
    answer = EndTxnResponseV5.decode(BytesIO(_bytes("00 00 00 00", "00 00", PRODUCER, "00")))
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (0, 7, 2)


def test_stable_offset_fetch_requires_a_stable_offset():
    """Version 7 asks to be refused while a transaction holds the offset open."""
    request = StableOffsetFetch("g", ("docs", 1)).prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION) == (9, 7)
    assert request.encode() == _bytes("02 67", "02", "05 646f6373", "02", "00 00 00 01", "00", "01", "00")


def test_offset_answers_are_read():
    """Codes and offsets are found behind compact strings and tags, known or not."""
    answer = OffsetFetchResponseV7.decode(
        BytesIO(
            _bytes(
                "00 00 00 00",
                "02",
                "05 646f6373",
                "02",
                "00 00 00 01",
                "00 00 00 00 00 00 01 2c",
                "ff ff ff ff",
                "00",  # null metadata
                "00 58",  # unstable offset commit
                "00 00",
                "00 00",
                "01 05 01 ff",  # a tagged field of a later protocol
            )
        )
    )
    assert answer.topics == [("docs", [(1, 300, -1, None, 88, {})], {})]
    assert answer.error_code == 0
    refused = TxnOffsetCommitResponseV3.decode(
        BytesIO(_bytes("00 00 00 00", "02", "05 646f6373", "02", "00 00 00 01", "00 16", "00", "00", "00"))
    )
    assert refused.topics == [("docs", [(1, 22, {})], {})]


def test_broker_without_generations_is_refused():
    """A broker that knows only older forms of the offset requests gets none of them."""
    with pytest.raises(NotImplementedError):
        TxnOffsetCommit(("t", 7, 2), ("g", 5, "me", None), ("docs", 1), 3).prepare({28: (0, 2)})

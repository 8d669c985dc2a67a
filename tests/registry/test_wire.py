"""Confluent's wire format."""

import pytest

from stream.contract.record import Record
from stream.errors import BadDocument
from stream.registry.wire import prefixed, split

RECORD = Record("docs", 0, 1)


@pytest.mark.parametrize("schema_id", [0, 1, 258, 2**31 - 1])
def test_wire_gives_back_what_it_took(schema_id):
    """Id and payload come back, and the format is byte 0 and four bytes in network order."""
    value = prefixed(schema_id, b"payload")
    assert value == b"\0" + schema_id.to_bytes(4, "big") + b"payload"
    assert split(RECORD, value) == (schema_id, b"payload")


@pytest.mark.parametrize(
    ("value", "headers", "reason", "words"),
    [
        (b"", (), "schema_id_missing", "byte 0"),
        (b"\0\0\0\7", (), "schema_id_missing", "byte 0"),
        (b'{"text": "Ada"}', (), "schema_id_missing", "read with plain"),
        (b"\1" + bytes(16), (), "schema_id_missing", "byte 0"),
        (b"\0\xff\xff\xff\xff!", (), "schema_unknown", "4294967295"),
        (b"Ada", (("__value_schema_id", b"\1" + bytes(16)),), "schema_id_missing", "version 1"),
    ],
)
def test_wire_refuses_other_values(value, headers, reason, words):
    """Other bytes, an id beyond a registry's and an id in a header are refused, each in words."""
    with pytest.raises(BadDocument, match=words) as refused:
        split(Record("docs", 0, 1, headers=headers), value)
    assert refused.value.reason == reason

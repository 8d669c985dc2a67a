"""Records whose header names are not UTF-8."""

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from stream.kafka.lenient_records import _FetchedRecords


class NotUtf8(str):
    """A name that is written as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Such bytes."""
        return b"\xff\xfename"


def _batch(codec: int, *header_names: str) -> bytes:
    """A batch of one record for each name."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 100_000)
    for offset, name in enumerate(header_names):
        builder.append(offset, 1000, b"key", b"value %d" % offset, [(name, b"1")])
    return bytes(builder.build())


@pytest.mark.parametrize("codec", range(5), ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_lenient_records_escape_names_that_are_not_utf8(codec):
    """Such a record and its neighbours come through, with their bytes kept, whatever compresses them."""
    records = _FetchedRecords(_batch(codec, "before", NotUtf8(), "after") + _batch(codec, "next"))
    first, second = records.next_batch(), records.next_batch()
    assert first.validate_crc()
    found = {record.offset: (record.headers[0][0], record.value) for record in first}
    assert found == {
        0: ("before", b"value 0"),
        1: ("\udcff\udcfename", b"value 1"),
        2: ("after", b"value 2"),
    }
    assert [record.headers for record in second] == [[("next", b"1")]]
    assert not records.has_next()
    assert records.next_batch() is None

"""Records whose header names are not UTF-8."""

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from stream.kafka.header_names import accept_any_header_name


class _BadName(str):
    """A header name as a client writes it that does not encode names itself."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfename"


def _batch(*, compression: int) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=compression,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000,
    )
    headers = [(_BadName("x"), b"1"), ("größe", b"2"), ("none", None)]
    for offset in range(2):
        builder.append(offset, timestamp=7, key=b"key", value=b"\xff" * 100, headers=headers)
    return bytes(builder.build())


@pytest.mark.parametrize("compression", [0, 1], ids=["plain", "gzip"])
def test_header_names_of_any_bytes_are_read(monkeypatch, compression):
    """Such a record is read whole, the name's bytes can be had back, and other names are as they were."""
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    accept_any_header_name()
    batches = fetcher.MemoryRecords(_batch(compression=compression) * 2)
    found = []
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc()
        found.extend(batch)
    assert [record.offset for record in found] == [0, 1, 0, 1]
    for record in found:
        (bad, one), *others = record.headers
        assert (bad.encode(errors="surrogateescape"), one) == (b"\xff\xfename", b"1")
        assert others == [("größe", b"2"), ("none", None)]
        assert (record.key, record.value) == (b"key", b"\xff" * 100)

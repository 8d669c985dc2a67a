"""Requests of Kafka's transactions that aiokafka 0.14 lacks: their newest forms, which fence.

Layouts: https://kafka.apache.org/43/protocol.html#protocol_messages. aiokafka's own stop at version 0
(OffsetFetch at 3), without the group's generation and stable reads (KIP-447), and without an epoch for each
transaction (KIP-890).
"""

from io import BytesIO
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_NO_TAGS: dict[int, bytes] = {}
_FINALISED_FEATURES = 2
_FEATURES = CompactArray(
    ("name", CompactString()),
    ("max_version_level", Int16),
    ("min_version_level", Int16),
    ("tags", TaggedFields),
)


class EndTxnResponseV5(Response):  # type: ignore[misc]
    """Identity of the producer for its next transaction."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class EndTxnRequestV5(RequestStruct):  # type: ignore[misc]
    """End of a transaction, after which the broker raises the producer's epoch."""

    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = EndTxnResponseV5
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        ("tags", TaggedFields),
    )


class EndTxn(Request[EndTxnRequestV5]):  # type: ignore[misc]
    """Commit of a transaction, after which the broker raises the epoch.

    Only for a cluster whose ``transaction_version`` is 2: with a lower one the broker offers the request,
    fails on it, and lets the producer do nothing more until it is restarted.

    Args:
        transactional_id: Id of the producer.
        producer_id: As the broker gave it.
        producer_epoch: Likewise.
    """

    API_KEY = 26

    def __init__(self, transactional_id: str, producer_id: int, producer_epoch: int) -> None:
        self._fields = transactional_id, producer_id, producer_epoch, True, _NO_TAGS

    def build(self, request_struct_class: type[EndTxnRequestV5]) -> EndTxnRequestV5:
        """Make the request."""
        return request_struct_class(*self._fields)


class TxnOffsetCommitResponseV3(Response):  # type: ignore[misc]
    """An error code for each partition."""

    API_KEY = 28
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString()),
                (
                    "partitions",
                    CompactArray(("partition_index", Int32), ("error_code", Int16), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitRequestV3(RequestStruct):  # type: ignore[misc]
    """Offsets of a transaction, with the member and generation that they are committed for."""

    API_KEY = 28
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponseV3
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("group_id", CompactString()),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", CompactString()),
        ("group_instance_id", CompactString()),
        (
            "topics",
            CompactArray(
                ("name", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("committed_offset", Int64),
                        ("committed_leader_epoch", Int32),
                        ("committed_metadata", CompactString()),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommit(Request[TxnOffsetCommitRequestV3]):  # type: ignore[misc]
    """Commit of one partition's offset within a transaction.

    Args:
        producer: Transactional id, producer id and epoch.
        group: Name of the group; its generation, the member's id and its instance id or None.
        partition: Topic and partition.
        offset: Offset of the next record to read.
    """

    API_KEY = 28

    def __init__(
        self,
        producer: tuple[str, int, int],
        group: tuple[str, int, str, str | None],
        partition: tuple[str, int],
        offset: int,
    ) -> None:
        transactional_id, *identity = producer
        name, *member = group
        topic, number = partition
        topics: Any = [(topic, [(number, offset, -1, "", {})], {})]
        self._fields = transactional_id, name, *identity, *member, topics, _NO_TAGS

    def build(self, request_struct_class: type[TxnOffsetCommitRequestV3]) -> TxnOffsetCommitRequestV3:
        """Make the request."""
        return request_struct_class(*self._fields)


class OffsetFetchResponseV7(Response):  # type: ignore[misc]
    """Committed offsets, -1 where there is none."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("committed_offset", Int64),
                        ("committed_leader_epoch", Int32),
                        ("metadata", CompactString()),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequestV7(RequestStruct):  # type: ignore[misc]
    """Read of committed offsets, refused while a transaction holds one of them open."""

    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponseV7
    SCHEMA = Schema(
        ("group_id", CompactString()),
        (
            "topics",
            CompactArray(
                ("name", CompactString()),
                ("partition_indexes", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class StableOffsetFetch(Request[OffsetFetchRequestV7]):  # type: ignore[misc]
    """Read of one partition's committed offset that no open transaction can change.

    Args:
        group: Name of the group.
        partition: Topic and partition.
    """

    API_KEY = 9

    def __init__(self, group: str, partition: tuple[str, int]) -> None:
        topic, number = partition
        topics: Any = [(topic, [number], {})]
        self._fields = group, topics, True, _NO_TAGS

    def build(self, request_struct_class: type[OffsetFetchRequestV7]) -> OffsetFetchRequestV7:
        """Make the request."""
        return request_struct_class(*self._fields)


class ApiVersionsResponseV3(Response):  # type: ignore[misc]
    """Versions that a broker takes, and the features of its cluster among the tags."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_keys",
            CompactArray(
                ("api_key", Int16), ("min_version", Int16), ("max_version", Int16), ("tags", TaggedFields)
            ),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class ApiVersionsRequestV3(RequestStruct):  # type: ignore[misc]
    """Question for a broker's versions and features (KIP-584)."""

    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ApiVersionsResponseV3
    SCHEMA = Schema(
        ("client_software_name", CompactString()),
        ("client_software_version", CompactString()),
        ("tags", TaggedFields),
    )

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> Any:
        """Read the old header, which this one answer keeps in all versions (KIP-511)."""
        return ResponseHeader_v0.decode(read_buffer)


class Features(Request[ApiVersionsRequestV3]):  # type: ignore[misc]
    """Question for the features of a cluster."""

    API_KEY = 18

    def build(self, request_struct_class: type[ApiVersionsRequestV3]) -> ApiVersionsRequestV3:
        """Make the request."""
        return request_struct_class("padellm", "1", _NO_TAGS)


def transaction_version(answer: Any) -> int:
    """Feature ``transaction.version`` of a cluster: 0 where it has none, 2 with an epoch a transaction.

    Args:
        answer: An ``ApiVersionsResponseV3``.
    """
    finalised = answer.tags.get(_FINALISED_FEATURES)
    features = _FEATURES.decode(BytesIO(finalised)) if finalised else None
    return next((level for name, level, _, _ in features or () if name == "transaction.version"), 0)

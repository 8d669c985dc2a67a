"""Confluent's wire format, version 0: magic byte 0, schema id in four bytes (big-endian), payload.

Version 1 (magic byte 1, in a header) names a schema by a GUID and leaves the value bare; it is refused.
"""

from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument

MAGIC = 0
PREFIX_BYTES = 5
_VERSION_1_HEADER = "__value_schema_id"
_LARGEST_ID = 2**31 - 1


def prefixed(schema_id: int, payload: bytes) -> bytes:
    """The payload behind the id of its schema."""
    return bytes((MAGIC,)) + schema_id.to_bytes(4, "big") + payload


def split(record: Record, value: bytes) -> tuple[int, bytes]:
    """The schema id and the payload of a record's value.

    Raises:
        BadDocument: The value is not in version 0 of the wire format.
    """
    if any(name == _VERSION_1_HEADER for name, _ in record.headers):
        raise BadDocument(
            Reason.SCHEMA_ID_MISSING,
            f"the schema is named in the header {_VERSION_1_HEADER} (version 1 of the wire format); version "
            "0 is read: let the producer write the schema's id in front of the value",
        )
    if len(value) < PREFIX_BYTES or value[0] != MAGIC:
        raise BadDocument(
            Reason.SCHEMA_ID_MISSING,
            "the value does not begin with byte 0 and the id of a schema, as "
            "PADELLM_RECORD_ENCODING=registry expects; values of JSON or text alone are read with plain",
        )
    schema_id = int.from_bytes(value[1:PREFIX_BYTES], "big")
    if schema_id > _LARGEST_ID:  # a registry's ids are 32 bits with a sign
        raise BadDocument(Reason.SCHEMA_UNKNOWN, f"{schema_id} is no id of a schema")
    return schema_id, value[PREFIX_BYTES:]

"""Reason codes: of mentions that are not among the entities of an event, and of dead letters.

A code once published keeps its meaning.
"""

from enum import StrEnum


class RemovalReason(StrEnum):
    """Reason why a mention that the model decoded is not an entity of the event."""

    UNREADABLE_COUNT = "unreadable_count"
    UNGROUNDED = "ungrounded"
    DUPLICATE = "duplicate"
    OTHER_LABEL = "other_label"
    OVERLAP = "overlap"
    BELOW_THRESHOLD = "below_threshold"


class Stage(StrEnum):
    """Stage of processing at which a document was stopped.

    ``inference`` is a fault of this service around the model's answers.
    """

    DECODE = "decode"
    VALIDATE = "validate"
    SIZE = "size"
    COUNT = "count"
    MENTION = "mention"
    DEADLINE = "deadline"
    INFERENCE = "inference"
    PUBLISH = "publish"


class Reason(StrEnum):
    """Reason why a record became a dead letter."""

    # decode: the bytes are not one strict JSON value
    TOMBSTONE = "tombstone"
    EMPTY_VALUE = "empty_value"
    NOT_UTF8 = "not_utf8"
    BYTE_ORDER_MARK = "byte_order_mark"
    NOT_JSON = "not_json"
    NOT_A_NUMBER = "not_a_number"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    LONE_SURROGATE = "lone_surrogate"

    # decode: the bytes are not what a schema of the registry says
    SCHEMA_ID_MISSING = "schema_id_missing"
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_UNSUPPORTED = "schema_unsupported"
    NOT_AVRO = "not_avro"

    # validate: the JSON value is not a document
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    TEXT_MISSING = "text_missing"
    TEXT_EMPTY = "text_empty"
    TEXT_BLANK = "text_blank"
    LABELS_EMPTY = "labels_empty"
    LABEL_BLANK = "label_blank"
    LABEL_DUPLICATE = "label_duplicate"
    THRESHOLD_OUT_OF_RANGE = "threshold_out_of_range"
    POLICY_UNKNOWN = "policy_unknown"
    OFFSETS_UNKNOWN = "offsets_unknown"

    # validate: the record of another program lacks what the settings point at
    NOT_A_CLOUD_EVENT = "not_a_cloud_event"
    NOT_A_CHANGE_EVENT = "not_a_change_event"
    CONTENT_TYPE_UNKNOWN = "content_type_unknown"
    TEXT_NOT_FOUND = "text_not_found"
    TEXT_NOT_A_STRING = "text_not_a_string"
    TEXT_UNAVAILABLE = "text_unavailable"
    ID_NOT_FOUND = "id_not_found"

    # size: the record, or a part of the document, is larger than this service reads
    MESSAGE_TOO_LARGE = "message_too_large"
    ID_TOO_LONG = "id_too_long"
    TEXT_TOO_LONG = "text_too_long"
    LABELS_TOO_MANY = "labels_too_many"
    LABEL_TOO_LONG = "label_too_long"
    METADATA_TOO_LARGE = "metadata_too_large"

    # deadline: the model left this document without an answer
    INFERENCE_TIMEOUT = "inference_timeout"

    # count or mention: the model refuses such a prompt of this document, or fails on it
    INFERENCE_REJECTED = "inference_rejected"

    # count or mention: the model's answers to such a prompt are not as its contract has them
    INFERENCE_BREACH = "inference_breach"

    # count or mention: the model server fails each time it has this document alone
    INFERENCE_CRASH = "inference_crash"

    # any stage
    INTERNAL_ERROR = "internal_error"

    # publish: there is an event, but it is too large for its topic
    EVENT_TOO_LARGE = "event_too_large"

    @property
    def stage(self) -> Stage:
        """Stage at which a document with this reason was stopped, unless a closer one is known."""
        return _STAGES.get(self, Stage.VALIDATE)


_DECODE = (
    Reason.TOMBSTONE,
    Reason.EMPTY_VALUE,
    Reason.NOT_UTF8,
    Reason.BYTE_ORDER_MARK,
    Reason.NOT_JSON,
    Reason.NOT_A_NUMBER,
    Reason.NUMBER_OUT_OF_RANGE,
    Reason.DUPLICATE_KEY,
    Reason.TOO_DEEP,
    Reason.LONE_SURROGATE,
    Reason.SCHEMA_ID_MISSING,
    Reason.SCHEMA_UNKNOWN,
    Reason.SCHEMA_UNSUPPORTED,
    Reason.NOT_AVRO,
)
_SIZE = (
    Reason.MESSAGE_TOO_LARGE,
    Reason.ID_TOO_LONG,
    Reason.TEXT_TOO_LONG,
    Reason.LABELS_TOO_MANY,
    Reason.LABEL_TOO_LONG,
    Reason.METADATA_TOO_LARGE,
)
_STAGES = {
    **dict.fromkeys(_DECODE, Stage.DECODE),
    **dict.fromkeys(_SIZE, Stage.SIZE),
    Reason.INFERENCE_TIMEOUT: Stage.DEADLINE,
    Reason.INFERENCE_REJECTED: Stage.INFERENCE,
    Reason.INFERENCE_BREACH: Stage.INFERENCE,
    Reason.INFERENCE_CRASH: Stage.INFERENCE,
    Reason.INTERNAL_ERROR: Stage.INFERENCE,
    Reason.EVENT_TOO_LARGE: Stage.PUBLISH,
}

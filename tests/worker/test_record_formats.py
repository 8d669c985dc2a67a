"""Records of other programs to documents, as the settings say."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument
from stream.schemas.examples import EVENT
from stream.settings import Settings
from stream.worker.codec import Decoded, decode, encode_event
from stream.worker.envelopes import NoDocument

ARTICLE = {"after": {"title": "Ada", "body": "Ada Lovelace wrote.", "id": 7, "summary": None}, "op": "c"}
TITLE_AND_BODY = ("/after/title", "/after/body")


def read(value: object, *, headers=(), key: bytes | None = b"k", **settings: object) -> Decoded:
    """A record through the codec; a value that is no bytes is written as JSON."""
    raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    record = Record("docs", 1, 7, key=key, value=raw, headers=tuple(headers))
    return decode(record, Settings(**settings))


def refused(*arguments: object, **settings: object) -> BadDocument:
    """The complaint about a record."""
    with pytest.raises(BadDocument) as error:
        read(*arguments, **settings)
    return error.value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.isspace()))
def test_record_formats_text_is_the_value(text):
    """With the format text a record's value is the text as it is, and its key the id."""
    decoded = read(text.encode(), record_format="text")
    assert (decoded.document.text, decoded.document.id, decoded.fields) == (text, "k", {})


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"", Reason.TEXT_EMPTY), (b" \n", Reason.TEXT_BLANK), (b"\xff", Reason.NOT_UTF8)],
)
def test_record_formats_text_without_a_text_is_refused(value, reason):
    """A value that holds no text is a dead letter with its reason."""
    assert refused(value, record_format="text").reason == reason


def test_record_formats_json_reads_the_fields_pointed_at():
    """Texts, id, labels and metadata come from their places; other fields are let pass."""
    decoded = read(
        {"ticket": {"subject": "Hello", "messages": [{"body": "Dear Ada"}]}, "nr": 12, "kinds": ["person"]},
        record_format="json",
        text_pointers="/ticket/subject,/ticket/messages/0/body",
        id_pointer="/nr",
        labels_pointer="/kinds",
        metadata_pointers="/nr,/none",
    )
    assert decoded.fields == {"/ticket/subject": "Hello", "/ticket/messages/0/body": "Dear Ada"}
    assert (decoded.document.id, decoded.document.labels) == ("12", ["person"])
    assert decoded.document.metadata == {"/nr": 12}
    assert decoded.metadata == b'{"/nr":12}'


def test_record_formats_json_carries_the_other_fields_on_request():
    """All fields but the texts are metadata, spelled as in the record."""
    raw = b'{"text": "Ada", "n": 1.10, "deep": {"note": "x", "big": 18446744073709551616}}'
    settings = {"record_format": "json", "text_pointers": ["/text", "/deep/note"], "carry_all_fields": True}
    assert read(raw, **settings).metadata == b'{"n":1.10,"deep":{"big":18446744073709551616}}'


@pytest.mark.parametrize("number", ["18446744073709551616", "1e999", "-1e999", "1" * 5000])
def test_record_formats_json_lets_numbers_of_other_fields_pass(number):
    """A number that no 64 bits hold is no fault of the text beside it, carried along or not."""
    raw = b'{"text": "Ada", "n": %s, "s": "\\ud800"}' % number.encode()
    settings = {"record_format": "json", "text_pointers": "/text"}
    assert read(raw, **settings).fields == {"/text": "Ada"}
    assert read(raw, **settings, metadata_pointers="/n").metadata == b'{"/n":%s}' % number.encode()


@pytest.mark.parametrize(
    ("value", "reason", "complaint"),
    [
        ({"after": {"title": "x"}}, Reason.TEXT_NOT_FOUND, "/after/body finds nothing: /after has the names"),
        ({"after": None}, Reason.TEXT_NOT_FOUND, "/after is null"),
        ([], Reason.TEXT_NOT_FOUND, "the whole value is a list of 0"),
        ({"after": {"body": None}}, Reason.TEXT_NOT_A_STRING, "PADELLM_OPTIONAL_TEXT_POINTERS"),
        ({"after": {"body": 7}}, Reason.TEXT_NOT_A_STRING, "the text at /after/body is a number (7)"),
        ({"after": {"body": ["a"]}}, Reason.TEXT_NOT_A_STRING, "is a list"),
        ({"after": {"body": ""}}, Reason.TEXT_EMPTY, "/after/body"),
        ({"after": {"body": " \n"}}, Reason.TEXT_BLANK, "/after/body"),
        ({"after": {"body": "x" * 11}}, Reason.TEXT_TOO_LONG, "/after/body"),
        ({"after": {"body": "\ud800"}}, Reason.LONE_SURROGATE, "/after/body"),
        (b"plain text", Reason.NOT_JSON, "not JSON"),
        (b'{"a": 1, "a": 2}', Reason.DUPLICATE_KEY, "twice"),
        (b"[" + b"1," * 300_000 + b"1]", Reason.MESSAGE_TOO_LARGE, "more than 200,000 values"),
    ],
)
def test_record_formats_json_without_the_text_is_refused(value, reason, complaint):
    """A pointer that finds nothing, no string or no text is a dead letter that says so."""
    bad = refused(value, record_format="json", text_pointers="/after/body", max_text_characters=10)
    assert bad.reason == reason
    assert complaint in str(bad)


@pytest.mark.parametrize(
    ("settings", "value", "reason"),
    [
        ({"id_pointer": "/id"}, {"text": "x"}, Reason.ID_NOT_FOUND),
        ({"id_pointer": "/id"}, {"text": "x", "id": None}, Reason.ID_NOT_FOUND),
        ({"id_pointer": "/id"}, {"text": "x", "id": True}, Reason.ID_NOT_FOUND),
        ({"id_pointer": "/id"}, {"text": "x", "id": 1.5}, Reason.ID_NOT_FOUND),
        ({"id_pointer": "/id"}, {"text": "x", "id": "i" * 600}, Reason.ID_TOO_LONG),
        ({"labels_pointer": "/l"}, {"text": "x", "l": "person"}, Reason.WRONG_TYPE),
        ({"labels_pointer": "/l"}, {"text": "x", "l": [7]}, Reason.WRONG_TYPE),
        ({"labels_pointer": "/l"}, {"text": "x", "l": {"person": None}}, Reason.WRONG_TYPE),
        ({"labels_pointer": "/l"}, {"text": "x", "l": []}, Reason.LABELS_EMPTY),
        ({"labels_pointer": "/l"}, {"text": "x", "l": ["a", "A"]}, Reason.LABEL_DUPLICATE),
        ({"carry_all_fields": True}, {"text": "x", "rest": "r" * 70_000}, Reason.METADATA_TOO_LARGE),
        ({"metadata_pointers": "/rest"}, {"text": "x", "rest": "r" * 70_000}, Reason.METADATA_TOO_LARGE),
    ],
)
def test_record_formats_json_id_labels_and_metadata_are_checked(settings, value, reason):
    """An id, labels or metadata that cannot serve are a dead letter with a reason of their own."""
    assert refused(value, record_format="json", text_pointers="/text", **settings).reason == reason


@pytest.mark.parametrize("absent", [{}, {"b": None}, {"b": ""}, {"b": "  "}])
def test_record_formats_optional_texts_may_be_absent(absent):
    """An optional field without a text is left out, as long as another has one."""
    settings = {"record_format": "json", "optional_text_pointers": "/a,/b"}
    assert read({"a": "Ada"} | absent, **settings).fields == {"/a": "Ada"}
    assert refused(absent, **settings).reason == Reason.TEXT_NOT_FOUND
    assert refused({"b": 7}, **settings).reason == Reason.TEXT_NOT_A_STRING


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("operation", ["c", "u", "r"])
def test_record_formats_debezium_reads_the_row(wrapped, operation):
    """A row that is created, updated or read in a snapshot is a document, in Connect's schema or not."""
    change = ARTICLE | {"op": operation}
    value = {"schema": {"type": "struct"}, "payload": change} if wrapped else change
    decoded = read(
        value,
        record_format="debezium",
        text_pointers=list(TITLE_AND_BODY),
        optional_text_pointers="/after/summary",
        id_pointer="/after/id",
        carry_all_fields=True,
    )
    assert decoded.fields == {"/after/title": "Ada", "/after/body": "Ada Lovelace wrote."}
    assert decoded.document.id == "7"
    assert decoded.document.metadata == {"after": {"id": 7}, "op": operation}


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"schema": None, "payload": None},
        {"op": "d", "before": {"id": 7}, "after": None},
        {"schema": {}, "payload": {"op": "d", "before": {"id": 7}, "after": None}},
        {"op": "t"},
        {"op": "m", "message": {"prefix": "p", "content": "x"}},
    ],
)
def test_record_formats_debezium_deletions_are_no_documents(value):
    """Deletions, tombstones, truncations and messages of the log hold no document, and are no fault."""
    with pytest.raises(NoDocument):
        read(value, record_format="debezium", text_pointers="/after/title")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"id": 7, "title": "a row by itself"}, Reason.NOT_A_CHANGE_EVENT),
        ([1], Reason.NOT_A_CHANGE_EVENT),
        ({"op": "x", "after": {"title": "Ada"}}, Reason.NOT_A_CHANGE_EVENT),
        ({"op": "u", "after": {"title": "__debezium_unavailable_value"}}, Reason.TEXT_UNAVAILABLE),
        ({"op": "c", "after": {"title": 7}}, Reason.TEXT_NOT_A_STRING),
    ],
)
def test_record_formats_debezium_refuses_other_records(value, reason):
    """What is no change event, or lacks the row's text, is a dead letter."""
    assert refused(value, record_format="debezium", text_pointers="/after/title").reason == reason


ATTRIBUTES = {"specversion": "1.0", "id": "e-1", "type": "article", "source": "/cms", "subject": "42"}
BINARY = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
CLOUD = {
    "record_format": "cloudevents",
    "text_pointers": "/data/body",
    "id_pointer": "/id",
    "metadata_pointers": "/subject,/data/n",
}


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        ({"body": "Ada", "n": 1}, [*BINARY, ("content-type", b"application/json; charset=utf-8")]),
        ({"body": "Ada", "n": 1}, BINARY),
        ({"body": "Ada", "n": 1}, [*BINARY, ("Content-Type", b"application/vnd.cms+json")]),
        (ATTRIBUTES | {"data": {"body": "Ada", "n": 1}}, [("content-type", b"application/cloudevents+json")]),
        (ATTRIBUTES | {"data": {"body": "Ada", "n": 1}}, []),
        (ATTRIBUTES | {"data_base64": base64.b64encode(b'{"body": "Ada", "n": 1}').decode()}, []),
    ],
)
def test_record_formats_cloudevents_are_read_in_both_modes(value, headers):
    """The same pointers find data and attributes of an event in binary and in structured mode."""
    decoded = read(value, headers=headers, **CLOUD)
    assert decoded.fields == {"/data/body": "Ada"}
    assert decoded.document.id == "e-1"
    assert decoded.metadata == b'{"/subject":"42","/data/n":1}'


def test_record_formats_cloudevents_may_be_plain_text():
    """Data of a text type are the text."""
    headers = [*BINARY, ("content-type", b'text/plain; charset="UTF-8"')]
    decoded = read("Zoë".encode(), headers=headers, record_format="cloudevents", text_pointers="/data")
    assert decoded.fields == {"/data": "Zoë"}


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        ({"body": "Ada"}, [], Reason.NOT_A_CLOUD_EVENT),
        (["Ada"], [], Reason.NOT_A_CLOUD_EVENT),
        ([], [("content-type", b"application/cloudevents-batch+json")], Reason.CONTENT_TYPE_UNKNOWN),
        (b"x", [("content-type", b"application/cloudevents+avro")], Reason.CONTENT_TYPE_UNKNOWN),
        (b"x", [*BINARY, ("content-type", b"application/pdf")], Reason.CONTENT_TYPE_UNKNOWN),
        (b"x", [*BINARY, ("content-type", b"text/plain; charset=latin-1")], Reason.NOT_UTF8),
        (b"\xff", [*BINARY, ("content-type", b"text/plain")], Reason.NOT_UTF8),
        (b"x", [*BINARY, ("content-type", b"application/json")], Reason.NOT_JSON),
        (ATTRIBUTES, [], Reason.TEXT_NOT_FOUND),
        (ATTRIBUTES | {"data_base64": "!"}, [], Reason.NOT_A_CLOUD_EVENT),
        (ATTRIBUTES | {"data_base64": 7}, [], Reason.NOT_A_CLOUD_EVENT),
    ],
)
def test_record_formats_cloudevents_refuse_what_they_cannot_read(value, headers, reason):
    """What is no event, or holds data of another kind, is a dead letter that says so."""
    assert refused(value, headers=headers, **CLOUD).reason == reason


@pytest.mark.parametrize("form", ["text", "json", "cloudevents", "debezium"])
def test_record_formats_tombstones_are_no_documents(form):
    """A record without a value deletes a key of a compacted topic: no document, and no fault."""
    pointers = {} if form == "text" else {"text_pointers": "/a"}
    with pytest.raises(NoDocument):
        read(None, headers=BINARY, record_format=form, **pointers)
    assert refused(None).reason == Reason.TOMBSTONE  # our own format stays strict


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["op", "after", "body", "data", "specversion", "payload", "schema", "data_base64"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("form", ["json", "cloudevents", "debezium"])
@given(
    value=st.binary(max_size=20) | json_values.map(lambda each: json.dumps(each).encode()),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["ce_specversion", "ce_id", "content-type"]),
            st.none()
            | st.sampled_from([b"text/plain", b"application/json", b"application/cloudevents+json"]),
        ),
        max_size=3,
    ),
)
def test_record_formats_end_in_a_document_or_a_reason(form, value, headers):
    """Whatever a record holds, it is a document, no document, or refused with a reason."""
    settings = {
        "text_pointers": "/after/body",
        "optional_text_pointers": "/data",
        "id_pointer": "/id",
        "labels_pointer": "/labels",
        "carry_all_fields": True,
    }
    with suppress(BadDocument, NoDocument):
        assert read(value, headers=headers, record_format=form, **settings).fields


@pytest.mark.parametrize("value", ["1e999", "18446744073709551616", '"\\ud800"', "1" * 5000])
def test_record_formats_carried_values_reach_the_event(value):
    """Whatever another field holds comes back in the event as it was spelled."""
    raw = b'{"text": "Ada", "rest": %s}' % value.encode()
    decoded = read(raw, record_format="json", text_pointers="/text", carry_all_fields=True)
    event = EVENT.model_copy(update={"metadata": decoded.document.metadata})
    assert b'"metadata":{"rest":%s}' % value.encode() in encode_event(event, decoded.metadata)

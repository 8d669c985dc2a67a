"""Records to documents, events to bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Coverage, Document, EntityEvent, ModelInfo, Policy, Source
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument
from stream.settings import Settings
from stream.worker.codec import decode_document, encode_event, largest_value

SETTINGS = Settings(max_text_characters=100, max_labels=3, max_label_characters=10, max_metadata_bytes=50)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100).filter(
    lambda text: not text.isspace()
)


def _record(value: bytes | None, *, key: bytes | None = None) -> Record:
    return Record("docs", 3, 17, key=key, value=value)


def _decode(key: bytes | None = None, **fields: object) -> Document:
    return decode_document(_record(json.dumps(fields).encode(), key=key), SETTINGS)


def _reason(**fields: object) -> str:
    with pytest.raises(BadDocument) as caught:
        _decode(**fields)
    return caught.value.reason


@given(
    text=_TEXT,
    labels=st.none() | st.just(["person", "place"]) | st.just({"person": "a human", "place": ""}),
    threshold=st.none() | st.floats(0, 1),
    policy=st.none() | st.sampled_from(Policy),
    ascii_only=st.booleans(),
)
def test_codec_reads_any_document(text, labels, threshold, policy, ascii_only):
    """What a producer puts into a document is what the worker reads, whatever the text is made of."""
    document = Document(id="1", text=text, labels=labels, threshold=threshold, policy=policy)
    raw = json.dumps(document.model_dump(mode="json"), ensure_ascii=ascii_only).encode()
    assert decode_document(_record(raw), SETTINGS) == document


@given(st.binary(max_size=300))
def test_codec_never_fails_otherwise(raw):
    """Whatever the bytes are: a document, or a bad document with a known reason and a message."""
    try:
        decode_document(_record(raw), SETTINGS)
    except BadDocument as bad:
        assert Reason(bad.reason), str(bad)  # noqa: PT017 - one of two outcomes


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "text", "labels", "threshold", "policy", "metadata", "x"]), inner
            )
        ),
        max_leaves=8,
    )
)
def test_codec_never_fails_on_any_json(value):
    """Whatever the JSON is: a document, or a bad document with a known reason."""
    try:
        decode_document(_record(json.dumps(value).encode()), SETTINGS)
    except BadDocument as bad:
        assert Reason(bad.reason)  # noqa: PT017 - one of two outcomes


def test_codec_takes_the_id_from_the_document_then_the_key_then_the_position():
    """The id is the document's own; else the key, if it is text of a bearable length; else the position."""
    assert _decode(key=b"key", id="own", text="Ada").id == "own"
    assert _decode(key=b"key", id="", text="Ada").id == "key"
    assert _decode(key=b"key", text="Ada").id == "key"
    for key in (None, b"", b"\xff", b"k" * 513):
        assert _decode(key=key, text="Ada").id == "docs/3/17"


@pytest.mark.parametrize(
    ("fields", "inside", "reason"),
    [
        ("text", ["x" * 100, "x" * 101], Reason.TEXT_TOO_LONG),
        ("text", ["👩" * 100, "👩" * 101], Reason.TEXT_TOO_LONG),
        ("labels", [["a", "b", "c"], ["a", "b", "c", "d"]], Reason.LABELS_TOO_MANY),
        ("labels", [["x" * 10], ["x" * 11]], Reason.LABEL_TOO_LONG),
        ("labels", [{"a": "x" * 10}, {"a": "x" * 11}], Reason.LABEL_TOO_LONG),
        ("metadata", [{"a": "x" * 42}, {"a": "x" * 43}], Reason.METADATA_TOO_LARGE),
        ("metadata", [{"a": "é" * 21}, {"a": "é" * 22}], Reason.METADATA_TOO_LARGE),
        ("id", ["x" * 512, "x" * 513], Reason.ID_TOO_LONG),
        ("threshold", [1.0, 1.0001], Reason.THRESHOLD_OUT_OF_RANGE),
        ("threshold", [0.0, -0.0001], Reason.THRESHOLD_OUT_OF_RANGE),
    ],
)
def test_codec_bounds_are_exact(fields, inside, reason):
    """The largest value within a bound is read, the next is refused; lengths are code points, sizes bytes."""
    good, bad = inside
    assert _decode(**{"text": "Ada", fields: good})
    assert _reason(**{"text": "Ada", fields: bad}) == reason


def test_codec_size_bound_lets_every_good_document_through():
    """The longest document within the bounds, escaped as wastefully as can be, is below the size bound."""
    document = {
        "text": "😀" * SETTINGS.max_text_characters,
        "labels": {
            f"{n}" + "😀" * (SETTINGS.max_label_characters - 1): "😀" * 10 for n in range(SETTINGS.max_labels)
        },
        "metadata": {"a": "é" * 21},
    }
    raw = json.dumps(document).encode()
    assert len(raw) < largest_value(SETTINGS)
    assert decode_document(_record(raw), SETTINGS).text == document["text"]


def test_codec_messages_name_the_field_and_what_is_expected():
    """A message can be understood without the code: the field, what it was, what it should be."""
    with pytest.raises(BadDocument, match=r"threshold is a string \('0.5'\); expected a number from 0 to 1"):
        _decode(text="Ada", threshold="0.5")
    with pytest.raises(
        BadDocument, match=r"labels names 4 labels; at most 3 are taken \(PADELLM_MAX_LABELS\)"
    ):
        _decode(text="Ada", labels=["a", "b", "c", "d"])
    with pytest.raises(BadDocument, match="the field 'lang' is not known"):
        _decode(text="Ada", lang="en")


@given(_TEXT)
def test_codec_events_come_back(text):
    """An encoded event is UTF-8 JSON that reads back equal."""
    event = EntityEvent(
        event_id="e",
        document_id=text,
        source=Source(topic="docs", partition=0, offset=1),
        model=ModelInfo(name="m", version="1", template_hash="0" * 16),
        labels=[text],
        entities=[],
        removed=[],
        coverage=Coverage(windows=1, characters=len(text)),
        timings={"total": 1.5},
        metadata={"any": [text, None, 1]},
    )
    assert EntityEvent.model_validate_json(encode_event(event)) == event

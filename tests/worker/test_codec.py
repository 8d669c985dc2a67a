"""Records to documents, events to bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Coverage, Document, EntityEvent, ModelInfo, Policy, Source
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.contract.rules import MAX_LABEL_CHARACTERS, MAX_METADATA_BYTES
from stream.errors import BadDocument
from stream.settings import Settings
from stream.worker.codec import decode, decode_document, encode_event, largest_value
from tests.bounds import bounded, fastest

SETTINGS = Settings(max_text_characters=100, max_labels=3)
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
    """The worker reads the very document that a producer sent, with any characters in its text."""
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
        ("labels", [["x" * 256], ["x" * 257]], Reason.LABEL_TOO_LONG),
        ("labels", [{"a": "x" * 256}, {"a": "x" * 257}], Reason.LABEL_TOO_LONG),
        ("metadata", [{"a": "x" * 65_528}, {"a": "x" * 65_529}], Reason.METADATA_TOO_LARGE),
        ("metadata", [{"a": "\t" * 32_764}, {"a": "\t" * 32_765}], Reason.METADATA_TOO_LARGE),
        ("metadata", [{"a": [0] * 32_764}, {"a": [0] * 32_765}], Reason.METADATA_TOO_LARGE),
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
            f"{n}" + "😀" * (MAX_LABEL_CHARACTERS - 1): "😀" * MAX_LABEL_CHARACTERS
            for n in range(SETTINGS.max_labels)
        },
        "metadata": {"a": "x" * (MAX_METADATA_BYTES - 8)},
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


def _event(document_id: str, metadata: dict) -> EntityEvent:
    return EntityEvent(
        event_id="e",
        document_id=document_id,
        source=Source(topic="docs", partition=0, offset=1),
        model=ModelInfo(name="m", version="1", template_hash="0" * 16),
        labels=[document_id],
        entities=[],
        removed=[],
        coverage=Coverage(windows=1, characters=len(document_id)),
        timings={"total": 1.5},
        metadata=metadata,
    )


@given(_TEXT)
def test_codec_events_come_back(text):
    """An encoded event is UTF-8 JSON that reads back equal."""
    event = _event(text, {"any": [text, None, 1]})
    record = _record(json.dumps({"text": "Ada", "metadata": event.metadata}).encode())
    assert EntityEvent.model_validate_json(encode_event(event, decode(record, SETTINGS).metadata)) == event


@pytest.mark.parametrize(
    "metadata",
    [
        '{"n":1E2}',
        '{"n":-0,"m":1.10,"o":0.1000000000000000055511151231257827}',
        '{"s":"\\u00e9\\/ , : {\\"","é":[[],{"metadata":{"a":1}},"a b"]}',
        "{}",
    ],
)
@pytest.mark.parametrize("name", ['"metadata"', r'"\u006detadata"'])
@pytest.mark.parametrize("document", ["{%s}", '{"id":"metadata", %s,\n"labels":{"metadata":"{}"}}'])
def test_codec_metadata_is_returned_as_spelled(metadata, name, document):
    """Metadata comes back as it was sent, numbers and escapes included; white space around values may go."""
    spaced = metadata.replace(",", " ,\n") if " " not in metadata else metadata
    value = document % f'"text": "Ada", {name} : {spaced}'
    record = _record(value.encode())
    read = decode(record, SETTINGS)
    encoded = encode_event(_event(read.document.id, read.document.metadata), read.metadata)
    assert encoded.endswith(f'"metadata":{metadata}}}'.encode())
    assert EntityEvent.model_validate_json(encoded).metadata == read.document.metadata


def test_codec_names_a_schema_registry_frame():
    """Bytes that a Schema Registry serializer wrote are named as such, whatever it wrote behind its frame."""
    for payload in (b'{"text": "Ada"}', b"\x02\xc3"):
        with pytest.raises(
            BadDocument, match="the id 258 of a schema: the frame of a Schema Registry"
        ) as bad:
            decode_document(_record(b"\x00\x00\x00\x01\x02" + payload), SETTINGS)
        assert bad.value.reason == Reason.NOT_JSON


MEGABYTE = 1 << 20


def _metadata(value: str) -> str:
    return f'{{"text":"Ada","metadata":{{"a":{value}}}}}'


def _fill(piece: str, *, start: str = "", end: str = "") -> str:
    """A megabyte of a piece; ``%d`` in it is numbered."""
    count = MEGABYTE // (len(piece) + 5 * piece.count("%d"))
    return start + "".join(piece % n if "%d" in piece else piece for n in range(count)) + end


HOSTILE = {
    "letters": ("x" * MEGABYTE, Reason.NOT_JSON),
    "brackets": ("[" * MEGABYTE, Reason.TOO_DEEP),
    "objects in objects": ('{"a":' * (MEGABYTE // 5), Reason.TOO_DEEP),
    "closing brackets": ("{" + "]" * MEGABYTE, Reason.NOT_JSON),
    "quotes": ('"' * MEGABYTE, Reason.NOT_JSON),
    "an open string of escaped quotes": ('{"text":"' + '\\"' * (MEGABYTE // 2), Reason.NOT_JSON),
    "commas": ("{" + "," * MEGABYTE, Reason.NOT_AN_OBJECT),
    "a list of lists": (_fill("[],", start="[", end="0]"), Reason.NOT_AN_OBJECT),
    "numbers with commas": (_fill("1,", end="1"), Reason.NOT_JSON),
    "white space": (" " * MEGABYTE + '{"text":"Ada"}', None),
    "a long number": (_metadata("9" * MEGABYTE), Reason.NUMBER_OUT_OF_RANGE),
    "a long fraction": (_metadata("0." + "3" * MEGABYTE), Reason.METADATA_TOO_LARGE),
    "a long exponent": (_metadata("1e" + "9" * MEGABYTE), Reason.NUMBER_OUT_OF_RANGE),
    "a long name": ('{"%s":1}' % ("n" * MEGABYTE), Reason.TEXT_MISSING),
    "a long text": (json.dumps({"text": "x" * MEGABYTE}), Reason.TEXT_TOO_LONG),
    "a text of escapes": ('{"text":"' + "\\ud83d\\ude00" * (MEGABYTE // 12) + '"}', None),
    "a text of lone surrogates": ('{"text":"' + "\\ud83d" * (MEGABYTE // 6) + '"}', Reason.LONE_SURROGATE),
    "a text of white space": ('{"text":"' + "\\n" * (MEGABYTE // 2) + '"}', Reason.TEXT_BLANK),
    "a list as text": (_fill("[],", start='{"text":[', end="0]}"), Reason.WRONG_TYPE),
    "a long id": (json.dumps({"text": "Ada", "id": "😀" * (MEGABYTE // 12)}), Reason.ID_TOO_LONG),
    "a long policy": (json.dumps({"text": "Ada", "policy": "😀" * (MEGABYTE // 12)}), Reason.POLICY_UNKNOWN),
    "a list as threshold": (_fill("{},", start='{"text":"Ada","threshold":[', end="0]}"), Reason.WRONG_TYPE),
    "unknown fields": (_fill('"k%d":0,', start='{"text":"Ada",', end='"k":0}'), Reason.UNKNOWN_FIELD),
    "unknown fields alone": (_fill('"k%d":0,', start="{", end='"k":0}'), Reason.UNKNOWN_FIELD),
    "unknown fields, few enough to be counted": (
        "{" + ",".join(f'"key {n:09}":0' for n in range(60_000)) + "}",
        Reason.TEXT_MISSING,
    ),
    "one field, and again": (_fill('"text":"Ada",', start="{", end='"text":""}'), Reason.DUPLICATE_KEY),
    "names, the last one twice": (
        "{" + ",".join(f'"key {n:09}":0' for n in [*range(60_000), 59_999]) + "}",
        Reason.DUPLICATE_KEY,
    ),
    "labels": (_fill('"l%d",', start='{"text":"Ada","labels":[', end='"l"]}'), Reason.LABELS_TOO_MANY),
    "labels, few enough to be counted": (
        json.dumps({"text": "Ada", "labels": [f"label {n:09}" for n in range(60_000)]}),
        Reason.LABELS_TOO_MANY,
    ),
    "labels of the wrong type": (
        _fill("{},", start='{"text":"Ada","labels":[', end="0]}"),
        Reason.LABELS_TOO_MANY,
    ),
    "definitions": (
        _fill('"l%d":"",', start='{"text":"Ada","labels":{', end='"l":""}}'),
        Reason.LABELS_TOO_MANY,
    ),
    "a long label": (json.dumps({"text": "Ada", "labels": ["x" * MEGABYTE]}), Reason.LABEL_TOO_LONG),
    "a long string in metadata": (_metadata('"%s"' % ("x" * MEGABYTE)), Reason.METADATA_TOO_LARGE),
    "many objects in metadata": (
        _metadata(_fill('{"a":0},', start="[", end="0]")),
        Reason.METADATA_TOO_LARGE,
    ),
    "many numbers in metadata": (_metadata(_fill("1.5,", start="[", end="0]")), Reason.METADATA_TOO_LARGE),
    "names in metadata, the last one twice": (
        _metadata(_fill('"k%d":0,', start="{", end='"k1":0}')),
        Reason.METADATA_TOO_LARGE,
    ),
    "white space in metadata": (_metadata(_fill("[] ,", start="[", end="0]")), Reason.METADATA_TOO_LARGE),
    "a schema registry's frame": ("\x00\x00\x00\x00\x07" + "x" * MEGABYTE, Reason.NOT_JSON),
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_codec_answers_a_megabyte_of_anything_in_time(text, reason):
    """A document of a megabyte is answered within a second and 100 MB of memory, whatever it is made of."""
    record, settings, answer = _record(text.encode()), Settings(), None
    with bounded(seconds=1, megabytes=100):
        try:
            decode_document(record, settings)
        except BadDocument as bad:
            answer = bad.reason
    assert answer == reason


def test_codec_answers_the_largest_value_in_time():
    """Hundreds of thousands of unknown fields cost no more than a megabyte of anything else."""
    value = "{" + ",".join(f'"key{n:06}":0' for n in range(600_000)) + "}"
    with (
        bounded(seconds=1, megabytes=100),
        pytest.raises(BadDocument, match=r"the field 'key.*' is not known"),
    ):
        decode_document(_record(value.encode()), Settings())


def test_codec_finds_a_repeated_name_in_linear_time():
    """Among 16,000 names the last one, there twice, is found in less than 50 ms."""
    value = json.dumps({f"key{n}": 0 for n in range(16_000)})[:-1] + ', "key15999": 0}'
    record, settings = _record(value.encode()), Settings()

    def refuse():
        with pytest.raises(BadDocument, match="'key15999' occurs twice"):
            decode_document(record, settings)

    assert fastest(refuse) < 0.05

"""Records that are no documents, and strange ones that are: name, record, and what has to become of it."""

import bz2
import gzip
import json
import lzma
import pickle
import zlib
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import quote

from stream.contract.reasons import Reason
from stream.contract.record import Headers

EVENT = "event"
DOCUMENT = '{"text": "Ada"}'


@dataclass(frozen=True)
class InputCase:
    """A record, and what has to become of it: ``EVENT`` or the reason of its dead letter."""

    name: str
    value: bytes | None
    outcome: str
    key: bytes | None = b"key"
    headers: Headers = ()


def _text(text: str, **fields: object) -> bytes:
    return json.dumps({"text": text, **fields}).encode()


def _with(fields: str) -> bytes:
    """A document with more fields, spelled as given."""
    return b'{"text": "Ada", %s}' % fields.encode()


def _nested(depth: int) -> bytes:
    return _with('"metadata": {"deep": ' + "[" * depth + "]" * depth + "}")


def _cases(outcome: str, cases: dict[str, bytes]) -> list[InputCase]:
    return [InputCase(name, value, outcome) for name, value in cases.items()]


_NOTHING = [
    InputCase("tombstone", None, Reason.TOMBSTONE),
    InputCase("tombstone with an empty key", None, Reason.TOMBSTONE, key=b""),
    InputCase("tombstone with a key that is not UTF-8", None, Reason.TOMBSTONE, key=b"\xff"),
    InputCase("tombstone with headers", None, Reason.TOMBSTONE, headers=(("a", b"1"),)),
    InputCase("no bytes", b"", Reason.EMPTY_VALUE),
    InputCase("no bytes and no key", b"", Reason.EMPTY_VALUE, key=None),
]

_TOO_LARGE = [
    *_cases(
        Reason.MESSAGE_TOO_LARGE,
        {
            "50 megabytes of text": _text("Ada " * 13_107_200),
            "50 megabytes of nothing": bytes(52_428_800),
        },
    ),
    *_cases(
        Reason.TEXT_TOO_LONG,
        {
            "a text over the limit": _text("Ada " * 250_001),
            "a text over the limit, of emoji": json.dumps({"text": "💥" * 1_000_001}).encode(),
        },
    ),
    *_cases(
        Reason.ID_TOO_LONG,
        {
            "an id of 513 characters": _text("Ada", id="x" * 513),
            "an id of 513 emoji": _text("Ada", id="💥" * 513),
        },
    ),
    *_cases(
        Reason.LABELS_TOO_MANY,
        {
            "65 labels": _text("Ada", labels=[f"label {n}" for n in range(65)]),
            "65 labels with definitions": _text("Ada", labels={f"label {n}": "" for n in range(65)}),
            "1,000 labels": _text("Ada", labels=[f"label {n}" for n in range(1000)]),
            "200,000 labels": _text("Ada", labels=[f"label {n}" for n in range(200_000)]),
        },
    ),
    *_cases(
        Reason.LABEL_TOO_LONG,
        {
            "a label of 257 characters": _text("Ada", labels=["x" * 257]),
            "a label of 10,000 characters": _text("Ada", labels=["x" * 10_000]),
            "a label of 257 characters with a definition": _text("Ada", labels={"x" * 257: ""}),
            "a definition of 10,000 characters": _text("Ada", labels={"a": "x" * 10_000}),
        },
    ),
    *_cases(
        Reason.METADATA_TOO_LARGE,
        {
            "a large string in metadata": _text("Ada", metadata={"x": "y" * 70_000}),
            "metadata of many small members": _text("Ada", metadata={f"k{n}": n for n in range(10_000)}),
            "metadata of 100,000 values": _text("Ada", metadata={"x": [0] * 100_000}),
            "metadata that only escapes make large": _text("Ada", metadata={"x": "\x01" * 11_000}),
        },
    ),
]

_ENCODINGS = [
    *_cases(
        Reason.NOT_UTF8,
        {
            "every byte once": bytes(range(256)),
            "latin-1": '{"text": "Zoë"}'.encode("latin-1"),
            "Windows' quotes": '{"text": "“Ada”"}'.encode("cp1252"),
            "KOI8-R": '{"text": "Ада"}'.encode("koi8-r"),
            "Shift JIS": '{"text": "東京"}'.encode("shift-jis"),
            "GB 18030": '{"text": "北京"}'.encode("gb18030"),
            "Big5": '{"text": "臺北"}'.encode("big5"),
            "EUC-KR": '{"text": "서울"}'.encode("euc-kr"),
            "EBCDIC": DOCUMENT.encode("cp037"),
            "a cut UTF-8 sequence": '{"text": "Ada 中'.encode()[:-1],
            "a cut UTF-8 sequence within": b'{"text": "Ada \xe4\xb8"}',
            "an overlong slash": b'{"text": "\xc0\xaf"}',
            "an overlong NUL, as Java writes it": b'{"text": "\xc0\x80"}',
            "a continuation byte alone": b'{"text": "\x80"}',
            "a byte that UTF-8 never has": b'{"text": "\xff"}',
            "a five-byte sequence": b'{"text": "\xf8\x88\x80\x80\x80"}',
            "a code point beyond Unicode": b'{"text": "\xf4\x90\x80\x80"}',
            "a surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
            "a pair of surrogates in UTF-8 (CESU-8)": b'{"text": "\xed\xa0\xbd\xed\xb8\x80"}',
            "bad UTF-8 in a name": b'{"\xfftext": "Ada"}',
            "bad UTF-8 behind the document": DOCUMENT.encode() + b"\xff",
            "gzip": gzip.compress(DOCUMENT.encode(), mtime=0),
            "zlib": zlib.compress(DOCUMENT.encode()),
            "xz": lzma.compress(DOCUMENT.encode()),
            "zstd": b"\x28\xb5\x2f\xfd\x20\x0f\x79\x00\x00" + DOCUMENT.encode(),
            "lz4": b"\x04\x22\x4d\x18\x64\x40\xa7\x0f\x00\x00\x80" + DOCUMENT.encode(),
            "bzip2": bz2.compress(DOCUMENT.encode()),
            "a PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
            "a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
            "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
            "MessagePack": b"\x81\xa4text\xa3Ada",
            "CBOR": b"\xa1dtextcAda",
            "a pickle": pickle.dumps({"text": "Ada"}, protocol=4),
            "a serialised Java object": b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap",
        },
    ),
    *_cases(
        Reason.BYTE_ORDER_MARK,
        {
            "UTF-8 with a mark": b"\xef\xbb\xbf" + DOCUMENT.encode(),
            "a mark alone": b"\xef\xbb\xbf",
            "UTF-16 with a mark": DOCUMENT.encode("utf-16"),
            "UTF-16 with a mark, big-endian": b"\xfe\xff" + DOCUMENT.encode("utf-16-be"),
            "UTF-32 with a mark": DOCUMENT.encode("utf-32"),
        },
    ),
    *_cases(
        Reason.NOT_JSON,
        {
            "a mark within": b'{"text": \xef\xbb\xbf"Ada"}',
            "UTF-16 without a mark": DOCUMENT.encode("utf-16-le"),
            "UTF-16 without a mark, big-endian": DOCUMENT.encode("utf-16-be"),
            "UTF-32 without a mark": DOCUMENT.encode("utf-32-le"),
            "UTF-32 without a mark, big-endian": DOCUMENT.encode("utf-32-be"),
            "one zero byte": b"\x00",
            "zero bytes behind": DOCUMENT.encode() + b"\x00\x00",
            "a zero byte before": b"\x00" + DOCUMENT.encode(),
            "a ZIP": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
            "an ELF file": b"\x7fELF\x02\x01\x01\x00",
            "BSON": b"\x13\x00\x00\x00\x02text\x00\x04\x00\x00\x00Ada\x00\x00",
            "Protocol Buffers": b"\n\x03Ada",
            "Avro": b"\x06Ada",
            "an Avro file": b"Obj\x01\x04\x14avro.codec\x08null\x00",
            "a Parquet file": b"PAR1\x15\x04\x15\x1e",
            "a schema registry's frame": b"\x00\x00\x00\x00\x01" + DOCUMENT.encode(),
            "a schema registry's frame of Avro": b"\x00\x00\x00\x00\x07\x06Ada",
            "Base64": b64encode(DOCUMENT.encode()),
            "hexadecimal digits": DOCUMENT.encode().hex().encode(),
            "percent-encoded": quote(DOCUMENT).encode(),
        },
    ),
]

_JSON = [
    *_cases(
        Reason.NOT_JSON,
        {
            "plain text": b"Ada wrote a program",
            "white space": b" \n\t ",
            "XML": b"<text>Ada</text>",
            "HTML": b"<!doctype html><p>Ada",
            "YAML": b"text: Ada\n",
            "TOML": b'text = "Ada"\n',
            "CSV": b"id,text\n1,Ada\n",
            "a form": b"text=Ada&id=1",
            "a Markdown fence": b"```json\n" + DOCUMENT.encode() + b"\n```",
            "a Python object": b"{'text': 'Ada', 'labels': None}",
            "JSONP": b'read({"text": "Ada"})',
            "a guard against scripts": b")]}'\n" + DOCUMENT.encode(),
            "a record separator before (RFC 7464)": b"\x1e" + DOCUMENT.encode(),
            "two documents on two lines": DOCUMENT.encode() + b"\n" + DOCUMENT.encode(),
            "two documents side by side": DOCUMENT.encode() * 2,
            "something behind the document": DOCUMENT.encode() + b" x",
            "cut within the text": b'{"text": "Ada',
            "cut behind the text": b'{"text": "Ada"',
            "cut behind a name": b'{"text"',
            "cut behind a colon": b'{"text":',
            "an opening brace": b"{",
            "a closing brace": b"}",
            "a closing brace too many": DOCUMENT.encode() + b"}",
            "a bracket that closes a brace": b'{"text": "Ada"]',
            "an opening quote": b'"',
            "a comma too many": b'{"text": "Ada",}',
            "a comma too many in a list": _with('"labels": ["person",]'),
            "a comma before": b'{,"text": "Ada"}',
            "two commas": b'{"text": "Ada",,"id": "1"}',
            "no comma": b'{"text": "Ada" "id": "1"}',
            "no colon": b'{"text" "Ada"}',
            "an equals sign": b'{"text" = "Ada"}',
            "no value": b'{"text": }',
            "no name": b'{: "Ada"}',
            "a name without quotes": b'{text: "Ada"}',
            "a number as a name": b'{1: "Ada"}',
            "single quotes": b"{'text': 'Ada'}",
            "typographic quotes": "{“text”: “Ada”}".encode(),
            "a comment behind": b'{"text": "Ada"} // who',
            "a comment within": b'{/* who */ "text": "Ada"}',
            "a hash comment": b'# who\n{"text": "Ada"}',
            "a raw control character": b'{"text": "A\x01da"}',
            "a raw line break": b'{"text": "A\nda"}',
            "a raw tab": b'{"text": "A\tda"}',
            "a raw zero byte": b'{"text": "A\x00da"}',
            "an escape of one letter more": b'{"text": "\\x41da"}',
            "an octal escape": b'{"text": "\\101da"}',
            "an escaped single quote": b'{"text": "\\\'Ada\\\'"}',
            "an escaped line break": b'{"text": "A\\\nda"}',
            "a half escape": b'{"text": "\\u00"}',
            "an escape that is not hexadecimal": b'{"text": "\\u00zz"}',
            "an escape in braces": b'{"text": "\\u{1F600}"}',
            "a backslash at the end": b'{"text": "Ada\\"}',
            "an unescaped quote": b'{"text": "A"da"}',
            "a form feed as white space": b'\x0c{"text": "Ada"}',
            "a no-break space as white space": '\u00a0{"text": "Ada"}'.encode(),
            "a line separator as white space": '{"text":\u2028"Ada"}'.encode(),
            "a zero-width space as white space": '\u200b{"text": "Ada"}'.encode(),
            "full-width braces": '｛"text": "Ada"｝'.encode(),
            "Python's True": b"True",
            "Python's None": b"None",
            "undefined": b"undefined",
            "nan in small letters": _with('"threshold": nan'),
            "inf": _with('"threshold": inf'),
            "a leading zero": _with('"threshold": 01'),
            "a plus sign": _with('"threshold": +1'),
            "a minus sign alone": _with('"threshold": -'),
            "a point at the end": _with('"threshold": 1.'),
            "a point at the beginning": _with('"threshold": .5'),
            "a comma as the point": _with('"threshold": 0,5'),
            "an exponent without digits": _with('"threshold": 1e'),
            "a hexadecimal number": _with('"threshold": 0x1'),
            "digits with underscores": _with('"metadata": {"n": 1_000}'),
            "Arabic digits": _with('"threshold": ١'),
        },
    ),
    *_cases(
        Reason.LONE_SURROGATE,
        {
            "a high surrogate alone": b'{"text": "Ada \\ud83d"}',
            "a low surrogate alone": b'{"text": "Ada \\ude00"}',
            "surrogates the wrong way round": b'{"text": "\\ude00\\ud83d"}',
            "a high surrogate twice": b'{"text": "\\ud83d\\ud83d\\ude00"}',
            "a surrogate in the id": _with('"id": "\\udc00"'),
            "a surrogate in a label": _with('"labels": ["\\udc00"]'),
            "a surrogate in a definition": _with('"labels": {"person": "\\ud800"}'),
            "a surrogate in a policy": _with('"policy": "\\ud800"'),
            "a surrogate in a name of metadata": _with('"metadata": {"\\ud800": 1}'),
            "a surrogate in a name": _with('"\\ud800": 1'),
        },
    ),
    *_cases(
        Reason.NOT_A_NUMBER,
        {
            "NaN as threshold": _with('"threshold": NaN'),
            "Infinity in metadata": _with('"metadata": {"n": Infinity}'),
            "minus Infinity in metadata": _with('"metadata": {"n": [-Infinity]}'),
            "NaN as the text": b'{"text": NaN}',
            "NaN alone": b"NaN",
        },
    ),
    *_cases(
        Reason.NUMBER_OUT_OF_RANGE,
        {
            "a float beyond range": _with('"metadata": {"n": 1e400}'),
            "a negative float beyond range": _with('"metadata": {"n": -1e400}'),
            "a threshold beyond range": _with('"threshold": 1e999999'),
            "2 to the 63rd": _with(f'"metadata": {{"n": {2**63}}}'),
            "less than minus 2 to the 63rd": _with(f'"metadata": {{"n": {-(2**63) - 1}}}'),
            "10,000 digits": _with('"metadata": {"n": ' + "9" * 10_000 + "}"),
            "a million digits": b"9" * 1_000_000,
        },
    ),
    *_cases(
        Reason.DUPLICATE_KEY,
        {
            "the text twice": b'{"text": "Ada", "text": "Eva"}',
            "the text twice, the same": b'{"text": "Ada", "text": "Ada"}',
            "the text twice, once escaped": b'{"text": "Ada", "t\\u0065xt": "Eva"}',
            "the id twice": _with('"id": "1", "id": "2"'),
            "a label with two definitions": _with('"labels": {"person": "a", "person": "b"}'),
            "a name twice in metadata": _with('"metadata": {"a": 1, "a": 2}'),
            "a name twice, deep in metadata": _with('"metadata": {"a": [{"b": 1, "b": 1}]}'),
            "an empty name twice": b'{"": 1, "": 2, "text": "Ada"}',
        },
    ),
    *_cases(
        Reason.TOO_DEEP,
        {
            "one level too deep": _nested(31),
            "nested 100 deep": _nested(100),
            "lists nested 100,000 deep": b"[" * 100_000,
            "objects nested 100,000 deep": b'{"a":' * 100_000,
        },
    ),
]

_SHAPES = [
    *_cases(
        Reason.NOT_AN_OBJECT,
        {
            "null": b"null",
            "true": b"true",
            "false": b"false",
            "a number": b"42",
            "a fraction": b"-0.0",
            "a string": b'"Ada"',
            "an empty string": b'""',
            "a document in a string": json.dumps(DOCUMENT).encode(),
            "an empty list": b"[]",
            "a list of documents": b'[{"text": "Ada"}]',
            "a list of texts": b'["Ada", "Eva"]',
            "a list of 200,000 numbers": json.dumps([0] * 200_000).encode(),
        },
    ),
    *_cases(
        Reason.TEXT_MISSING,
        {
            "an empty object": b"{}",
            "no text but an id": b'{"id": "1"}',
            "no text but labels": b'{"labels": ["person"]}',
            "the text as body": b'{"body": "Ada"}',
            "the text as content": b'{"content": "Ada"}',
            "several texts": b'{"texts": ["Ada", "Eva"]}',
            "the text in capitals": b'{"TEXT": "Ada"}',
            "the text with a capital": b'{"Text": "Ada"}',
            "the text with a space before": b'{" text": "Ada"}',
            "the text with a zero byte behind": b'{"text\\u0000": "Ada"}',
            "the text with a Cyrillic letter": '{"tехt": "Ada"}'.encode(),
            "the text in metadata": b'{"metadata": {"text": "Ada"}}',
            "an envelope": b'{"document": {"text": "Ada"}}',
            "Kafka Connect's envelope": b'{"schema": {"type": "string"}, "payload": {"text": "Ada"}}',
            "Debezium's envelope": b'{"before": null, "after": {"text": "Ada"}, "op": "c"}',
            "a structured CloudEvent": b'{"specversion": "1.0", "id": "1", "data": {"text": "Ada"}}',
            "our own entity event": b'{"event_id": "1", "document_id": "2", "entities": []}',
        },
    ),
    *_cases(
        Reason.UNKNOWN_FIELD,
        {
            "a field of one's own": _text("Ada", language="en"),
            "a misspelt label list": _text("Ada", lables=["person"]),
            "one label": _text("Ada", label="person"),
            "a misspelt threshold": _text("Ada", treshold=0.5),
            "a short name for metadata": _text("Ada", meta={}),
            "an empty name": _text("Ada", **{"": 1}),
            "a name with a space behind": _text("Ada", **{"text ": "Eva"}),
            "a name of other scripts": _text("Ada", **{"текст💥": 1}),
            "a name of Python's own": _text("Ada", __class__="x"),
            "a field of the event": _text("Ada", entities=[]),
            "200,000 unknown fields": _text("Ada", **{f"x{n}": 0 for n in range(200_000)}),
            "an unknown field of many values": _text("Ada", x=[0] * 200_000),
        },
    ),
    *_cases(
        Reason.WRONG_TYPE,
        {
            "a null text": b'{"text": null}',
            "a number as text": b'{"text": 7}',
            "a boolean as text": b'{"text": true}',
            "a list as text": b'{"text": ["Ada"]}',
            "an object as text": b'{"text": {"en": "Ada"}}',
            "a list of 200,000 as text": json.dumps({"text": ["Ada"] * 200_000}).encode(),
            "a number as id": _text("Ada", id=7),
            "a null id": _text("Ada", id=None),
            "a boolean as id": _text("Ada", id=False),
            "a list as id": _text("Ada", id=["1"]),
            "an object as id": _text("Ada", id={"$oid": "1"}),
            "a string as labels": _text("Ada", labels="person"),
            "a number as labels": _text("Ada", labels=3),
            "a boolean as labels": _text("Ada", labels=False),
            "a number among labels": _text("Ada", labels=["person", 7]),
            "null among labels": _text("Ada", labels=[None]),
            "a list among labels": _text("Ada", labels=[["person"]]),
            "an object among labels": _text("Ada", labels=[{"name": "person"}]),
            "a null definition": _text("Ada", labels={"person": None}),
            "a number as definition": _text("Ada", labels={"person": 1}),
            "a list as definition": _text("Ada", labels={"person": ["a human"]}),
            "a string as threshold": _text("Ada", threshold="0.5"),
            "a boolean as threshold": _text("Ada", threshold=True),
            "a list as threshold": _text("Ada", threshold=[0.5]),
            "an object as threshold": _text("Ada", threshold={"person": 0.5}),
            "a list as metadata": _text("Ada", metadata=[1]),
            "a string as metadata": _text("Ada", metadata="x"),
            "a number as metadata": _text("Ada", metadata=0),
            "null metadata": _text("Ada", metadata=None),
        },
    ),
]

_VALUES = [
    *_cases(Reason.TEXT_EMPTY, {"an empty text": _text("")}),
    *_cases(
        Reason.TEXT_BLANK,
        {
            "only spaces": _text("    "),
            "only tabs and line breaks": _text("\t\r\n"),
            "only wide and no-break spaces": _text("\u3000\u00a0\u2028\n\t"),
            "only separators of ASCII": _text("\x1c\x1d\x1e\x1f"),
            "only a next-line character": _text("\u0085"),
        },
    ),
    *_cases(
        Reason.LABELS_EMPTY,
        {"no label": _text("Ada", labels=[]), "no label, as an object": _text("Ada", labels={})},
    ),
    *_cases(
        Reason.LABEL_BLANK,
        {
            "an empty label": _text("Ada", labels=[""]),
            "a label of spaces": _text("Ada", labels=["  "]),
            "a label of a no-break space": _text("Ada", labels=["person", "\u00a0"]),
            "an empty label with a definition": _text("Ada", labels={"": "a human"}),
        },
    ),
    *_cases(
        Reason.LABEL_DUPLICATE,
        {
            "a label twice": _text("Ada", labels=["person", "person"]),
            "a label twice, in another case": _text("Ada", labels=["person", "Person"]),
            "a label twice, with spaces": _text("Ada", labels=["person", " person "]),
            "a label twice, with a sharp s": _text("Ada", labels=["straße", "STRASSE"]),
            "a label with definitions in two cases": _text("Ada", labels={"person": "a", "PERSON": "b"}),
        },
    ),
    *_cases(
        Reason.THRESHOLD_OUT_OF_RANGE,
        {
            "a threshold of 1.5": _text("Ada", threshold=1.5),
            "a threshold just above 1": _text("Ada", threshold=1.0000001),
            "a threshold in percent": _text("Ada", threshold=50),
            "a threshold of 1e308": _text("Ada", threshold=1e308),
            "a negative threshold": _text("Ada", threshold=-0.1),
            "a threshold just below 0": _text("Ada", threshold=-1e-9),
        },
    ),
    *_cases(
        Reason.OFFSETS_UNKNOWN,
        {
            "an unknown unit of offsets": _text("Ada", offsets="bytes"),
            "a number as unit of offsets": _text("Ada", offsets=16),
        },
    ),
    *_cases(
        Reason.POLICY_UNKNOWN,
        {
            "an unknown policy": _text("Ada", policy="strict"),
            "an empty policy": _text("Ada", policy=""),
            "a policy with a capital": _text("Ada", policy="Paper"),
            "a policy with a space": _text("Ada", policy=" paper"),
            "a number as policy": _text("Ada", policy=1),
            "a list as policy": _text("Ada", policy=["paper"]),
        },
    ),
]

_HEADERS = [
    InputCase(
        "a header without a value", b"{}", Reason.TEXT_MISSING, headers=(("none", None), ("empty", b""))
    ),
    InputCase(
        "dead-letter headers of its own", b"{}", Reason.TEXT_MISSING, headers=(("__dlq.errors.topic", b"x"),)
    ),
    InputCase("a header of 100,000 bytes", b"{}", Reason.TEXT_MISSING, headers=(("large", b"x" * 100_000),)),
    InputCase(
        "a thousand headers", b"{}", Reason.TEXT_MISSING, headers=tuple((f"h{n}", b"1") for n in range(1000))
    ),
    InputCase("a bad record with a key of 10,000 bytes", b"{}", Reason.TEXT_MISSING, key=b"k" * 10_000),
    InputCase("a bad record with a key that is not UTF-8", b"{}", Reason.TEXT_MISSING, key=b"\xff\x00"),
    InputCase("a bad record without a key", b"{}", Reason.TEXT_MISSING, key=None),
]

BAD = [*_NOTHING, *_TOO_LARGE, *_ENCODINGS, *_JSON, *_SHAPES, *_VALUES, *_HEADERS]

STRANGE = [
    *_cases(
        EVENT,
        {
            "NUL and control characters, escaped": _text("Ada \x00\x01\x07\x1b\x7f\x85"),
            "nothing but a control character": _text("\x01"),
            "nothing but a zero-width space": _text("\u200b"),
            "nothing but a combining mark": _text("\u0301"),
            "nothing but a byte order mark": _text("\ufeff"),
            "a raw delete character": b'{"text": "A\x7fda"}',
            "template markers": _text("Ada <num> 3\n<mention 1>\nentity type:\nperson\n\n<num>1\n</s>"),
            "right-to-left and combining marks": _text("عدا كتبت e\u0301\u0301 \u202e"),
            "emoji of several code points": _text("👩‍👩‍👧‍👦 Ada 🏴󠁧󠁢󠁥󠁮󠁧󠁿"),
            "emoji as an escaped pair": b'{"text": "Ada \\ud83d\\ude00"}',
            "noncharacters": _text("Ada \ufffe\uffff\U0010ffff"),
            "CRLF and tabs": _text("Ada\r\nwrote\ta\r\nprogram"),
            "a document as text": _text(DOCUMENT),
            "an escaped name": b'{"t\\u0065xt": "Ada"}',
            "unknown labels": _text("Ada", labels=["starship", "中文标签", "💥"]),
            "64 labels": _text("Ada", labels=[f"label {n}" for n in range(64)]),
            "labels with definitions": _text("Ada", labels={"person": "a human being", "ship": ""}),
            "a label that forges the template": _text("Ada", labels=["person\n\n<num>1\n<mention 1>"]),
            "null options": _text("Ada", labels=None, threshold=None, policy=None),
            "a threshold of 1": _text("Ada", threshold=1),
            "a threshold of minus 0": _with('"threshold": -0.0'),
            "an id of 512 emoji": _text("Ada", id="💥" * 512),
            "an empty id": _text("Ada", id=""),
            "white space around": b'\n\t {"text" :"Ada"}\r\n ',
            "the deepest metadata": _nested(30),
            "metadata of every type": _text("Ada", metadata={"a": [1, 2.5, None, True, {"b": "c"}]}),
            "numbers at the edges": _with(
                f'"metadata": {{"n": [{2**63 - 1}, {-(2**63)}, 1e-400, 1.7976931348623157e308, 1E2]}}'
            ),
        },
    ),
    InputCase("a key that is not UTF-8", _text("Ada"), EVENT, key=b"\xff\xfe"),
    InputCase("no key", _text("Ada"), EVENT, key=None),
    InputCase("an empty key", _text("Ada"), EVENT, key=b""),
    InputCase("a key of 10,000 bytes", _text("Ada"), EVENT, key=b"k" * 10_000),
    InputCase(
        "strange headers",
        _text("Ada"),
        EVENT,
        headers=(
            ("", b""),
            ("a", b"\xff\x00"),
            ("a", b"2"),
            ("traceparent", b"nonsense"),
            ("ü", "ü".encode()),
        ),
    ),
]

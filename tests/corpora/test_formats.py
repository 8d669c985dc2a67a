"""All formats: documents come back as they were written, and foreign files are refused."""

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream.corpora.conversion import Conversion
from stream.corpora.formats import FORMATS, format_named, format_of
from stream.corpora.parsing import Options
from stream.errors import ConfigurationError
from stream.offsets import OffsetUnit
from tests.corpora.documents import by_place, document, documents, without_space

OFFSETS = ["jsonl", "doccano", "padellm", "spacy", "brat"]
COLUMNS = ["conll", "iob1", "iob2", "bioes", "bilou"]
KEEPS_IDS = {"jsonl", "doccano", "spacy", "brat"}
OPTIONS = st.builds(Options, cjk=st.booleans(), split_punctuation=st.booleans())


def there_and_back(name, given_documents, options=Options()):  # noqa: B008
    """Documents written in a format and read again."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        FORMATS[name].write(given_documents, path, options)
        readings = list(FORMATS[name].read(path, options))
    assert [reading.problems for reading in readings] == [()] * len(given_documents)
    return [reading.document for reading in readings]


@pytest.mark.parametrize("name", OFFSETS)
@given(annotated=documents())
def test_formats_with_offsets_give_back_every_document(name, annotated):
    """Any text and any entities, nested, crossing or with white space at their ends, come back."""
    options = Options(offsets=OffsetUnit.CODE_POINTS)
    assume(not FORMATS[name].obstacles(annotated, options))
    (back,) = there_and_back(name, [annotated], options)
    assert back.text == annotated.text
    assert by_place(back) == by_place(annotated)
    if annotated.id and name in KEEPS_IDS:
        assert back.id == annotated.id


@pytest.mark.parametrize("name", COLUMNS)
@given(annotated=documents(overlap=False, edges=False), options=OPTIONS)
def test_formats_of_columns_give_back_all_but_white_space(name, annotated, options):
    """White space aside, any text and any entities that do not overlap come back."""
    assume(not FORMATS[name].obstacles(annotated, options))
    (back,) = there_and_back(name, [annotated], options)
    assert without_space(back) == without_space(annotated)


@given(annotated=documents(edges=False), options=OPTIONS)
def test_formats_gliner_gives_back_all_but_white_space(annotated, options):
    """White space aside, any text and any entities come back, and ids."""
    assume(annotated.text.strip())
    (back,) = there_and_back("gliner", [annotated], options)
    assert without_space(back) == without_space(annotated)
    assert not annotated.id or back.id == annotated.id


@pytest.mark.parametrize("name", FORMATS)
def test_formats_hold_many_documents_in_order(name):
    """Documents come back in the order they were written in, also from columns and an array."""
    many = [document(f"Ann {n:02} saw Bo", (0, 3, "PER"), (11, 13, "PER"), name=f"{n:02}") for n in range(12)]
    assert [back.text for back in there_and_back(name, many)] == [each.text for each in many]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "brat"])
def test_formats_may_be_gzipped(name, tmp_path):
    """A name that ends in .gz is written gzipped, the same bytes every time, and read again."""
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    for file in (first, second):
        FORMATS[name].write([document("Ann", (0, 3, "PER"), name="1")], file, Options())
    assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress(first.read_bytes())
    (reading,) = FORMATS[name].read(first, Options())
    assert reading.document.entities[0].text == "Ann"


SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.floats(),
    st.sampled_from(["Ann saw Bo", "PER", "\ud800", ""]),
)
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner))
NEARLY = st.lists(st.lists(SCALAR, max_size=4) | st.lists(SCALAR, min_size=3, max_size=4) | JSON, max_size=3)
NAMES = "id text data tokenized_text ner label labels entities"
ROWS = st.dictionaries(st.sampled_from(NAMES.split()), SCALAR | NEARLY) | st.tuples(SCALAR).flatmap(
    lambda text: NEARLY.map(lambda spans: [*text, *spans])
)
WILD = st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=40).map(lambda tail: b"\x1f\x8b" + tail),
    st.binary(max_size=40).map(gzip.compress),
    st.text(st.sampled_from('aO BIES-LU\t\n\u00a0\u3000#[]{},:"0 1;T\r'), max_size=60).map(str.encode),
    st.lists(ROWS, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    ROWS.map(lambda value: json.dumps([value], indent=1).encode()),
)


def refusal_of(conversion, source, target):
    """The message of a conversion's error; None where there is none."""
    try:
        conversion.run(source, target)
    except ConfigurationError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", FORMATS)
@given(content=WILD, other=WILD)
def test_formats_refuse_wild_bytes_by_name(name, content, other):
    """Whatever a file holds, it is converted or refused with an error that names it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "wild"
        if name == "brat":
            path.mkdir()
            (path / "wild.txt").write_bytes(content)
            (path / "wild.ann").write_bytes(other)
        else:
            path.write_bytes(content)
        for skip_bad in (False, True):
            conversion = Conversion(FORMATS[name], FORMATS["jsonl"], Options(cjk=True), skip_bad=skip_bad)
            refusal = refusal_of(conversion, path, Path(folder) / "out")
            assert refusal is None or str(path) in refusal


@pytest.mark.parametrize("name", ["jsonl", "doccano", "padellm", "gliner", "conll"])
def test_formats_take_bytes_that_are_no_text_for_one_bad_document(name, tmp_path):
    """Bytes that are not UTF-8 spoil the document they stand in, and those around it are read."""
    file = tmp_path / "data"
    names = ("Ann", "Bo!", "Cem")
    FORMATS[name].write([document(f"{each} sang", (0, 3, "PER")) for each in names], file, Options())
    file.write_bytes(file.read_bytes().replace(b"Bo!", b"Bo\xe9"))
    first, bad, last = FORMATS[name].read(file, Options())
    assert (first.document.text, last.document.text) == ("Ann sang", "Cem sang")
    assert f"line {bad.place.line}: not " in str(bad.problems[0])


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"spacy", "brat"}])
def test_formats_pass_over_a_byte_order_mark(name, tmp_path):
    """A byte order mark at the beginning of a file is no part of what it holds."""
    file = tmp_path / "data"
    given_document = document("Ann", (0, 3, "PER"))
    FORMATS[name].write([given_document], file, Options())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    (parsed,) = FORMATS[name].read(file, Options())
    assert parsed.document.text == "Ann"
    assert parsed.document.entities == given_document.entities


@pytest.mark.parametrize("name", ["jsonl", "doccano", "gliner", "padellm"])
def test_formats_refuse_deep_nesting(name, tmp_path):
    """JSON nested deeper than Python can follow is refused as anything else."""
    file = tmp_path / "deep"
    file.write_text("[" * 100_000)
    with pytest.raises(ConfigurationError, match="deep"):
        Conversion(FORMATS[name], FORMATS["jsonl"]).run(file, tmp_path / "out")


@pytest.mark.parametrize("name", FORMATS)
def test_formats_name_a_missing_file(name, tmp_path):
    """A file that is not there is named."""
    with pytest.raises(ConfigurationError, match="nowhere"):
        list(FORMATS[name].read(tmp_path / "nowhere", Options()))


@pytest.mark.parametrize("name", FORMATS)
def test_formats_name_a_place_that_cannot_be_written(name, tmp_path):
    """A file whose folder is a file is named."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        FORMATS[name].write([document("Ann", (0, 3, "PER"))], tmp_path / "file" / "data", Options())


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.jsonl", "jsonl"),
        ("a.JSONL.gz", "jsonl"),
        ("a.jsonl.gz", "jsonl"),
        ("a.conll", "conll"),
        ("a.bio", "iob2"),
        ("a.iobes", "bioes"),
        ("a.spacy", "spacy"),
        ("a.ann", "brat"),
        ("", "brat"),
        ("a.json", None),
        ("a.txt", None),
        ("a", None),
    ],
)
def test_formats_are_told_by_unambiguous_endings(name, format_name, tmp_path):
    """An ending that means one format tells it, a folder is brat's, and anything else asks for the option."""
    path = tmp_path / name
    if format_name is None:
        with pytest.raises(ConfigurationError, match="--from"):
            format_of(path, "--from")
    else:
        assert format_of(path, "--from").name == format_name


def test_formats_have_other_names():
    """BIO is IOB2, IOBES is BIOES, case does not matter, and an unknown name is refused."""
    assert [format_named(name).name for name in ("bio", "IOBES", "spaCy")] == ["iob2", "bioes", "spacy"]
    with pytest.raises(ConfigurationError, match=r"no format xml; there are jsonl, .*padellm"):
        format_named("xml")

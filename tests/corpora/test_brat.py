"""brat standoff."""

import pytest

from stream.corpora import brat
from stream.corpora.parsing import Discontinuous, Options
from stream.errors import ConfigurationError
from tests.corpora.documents import document

TEXT = "Ada and\r\nBo Lovelace"


def read(folder, annotation, options=Options()):  # noqa: B008
    """The one reading of a folder with this annotation of the text."""
    (folder / "a.txt").write_text(TEXT, newline="")
    (folder / "a.ann").write_text(annotation, newline="")
    (reading,) = brat.read(folder, options)
    return reading


def test_brat_reads_text_bound_lines_alone(tmp_path):
    """Entities come from T lines, offsets count carriage returns, and other annotation is passed over."""
    lines = [
        "T1\tPER 0 3\tAda",
        "R1\tknows Arg1:T1 Arg2:T2",
        "E1\tMeet:T1",
        "A1\tx T1",
        "M1\tx T1",
        "N1\tx T1 W:1",
        "*\tEquiv T1 T2",
        "#1\tAnnotatorNotes T1\tno",
        "T2\tPER 9 20\tBo Lovelace",
    ]
    assert read(tmp_path, "\r\n".join(lines)).document == document(
        TEXT, (0, 3, "PER"), (9, 20, "PER"), name="a"
    )


def test_brat_joins_pieces_that_a_line_end_parts(tmp_path):
    """An entity that goes over a line end is one, though brat writes it in pieces."""
    reading = read(tmp_path, "T1\tX 4 7;9 11\tand Bo\nT2\tX 4 11\tand  Bo")
    assert [entity.text for entity in reading.document.entities] == ["and\r\nBo"] * 2


@pytest.mark.parametrize(
    ("choice", "mention"), [(Discontinuous.JOIN, "Ada and\r\nBo Lovelace"), (Discontinuous.FIRST, "Ada")]
)
def test_brat_takes_entities_in_pieces_as_told(tmp_path, choice, mention):
    """An entity in pieces is refused with its line, and joined or cut to its first piece when told to."""
    annotation = "T1\tPER 9 11\tBo\nT2\tPER 0 3;12 20\tAda Lovelace"
    (problem,) = read(tmp_path, annotation).problems
    assert str(problem).startswith(f"{tmp_path / 'a.ann'}, line 2: ")
    assert "--discontinuous" in problem.reason
    reading = read(tmp_path, annotation, Options(discontinuous=choice))
    assert reading.document.entities[1].text == mention
    assert reading.place_of(1).line == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("T1\tPER 0 3\tBob", '"Bob" is marked at 0-3, where the text has "Ada"'),
        ("T1\tPER 0 3", "is not an id"),
        ("T1\tPER 0\tAda", "is not an id"),
        ("T1 PER 0 3 Ada", "is not an id"),
        ("T1\tPER 0 4\tAda", '"Ada" is marked at 0-4, where the text has "Ada "'),
        ("T1\tPER 0 2;3 7\tAdaand", 'marked at "0 2;3 7", where the text has another'),
        ("T1\tPER 4 7;0 3\tand Ada", 'marked at "4 7;0 3", where the text has another'),
        ("T1\tPER 3 0\t", "3-0"),
        ("T1\tPER 20 21\t", "20-21"),
        ("T1\tPER " + "9" * 30 + " 1\t", "is not an id"),
        ("?1\tPER 0 3\tAda", "no line of brat's"),
    ],
)
def test_brat_names_lines(tmp_path, line, words):
    """A line that is no annotation of the text is named with its reason."""
    (problem,) = read(tmp_path, f"\n{line}").problems
    assert problem.place.line == 2
    assert words in problem.reason


def test_brat_names_a_file_without_the_other(tmp_path):
    """A text without annotation is no text without entities, and an annotation needs its text."""
    (tmp_path / "a.txt").write_text("Ada")
    (tmp_path / "b.ann").write_text("")
    first, second = brat.read(tmp_path)
    assert str(first.problems[0]) == f"{tmp_path / 'a.txt'}: there is no a.ann beside it"
    assert str(second.problems[0]) == f"{tmp_path / 'b.ann'}: there is no b.txt beside it"


def test_brat_takes_a_file_that_is_no_text_for_one_bad_document(tmp_path):
    """A file that is not UTF-8 spoils its own document, and the others are read."""
    read(tmp_path, "T1\tPER 0 3\tAda")
    (tmp_path / "b.txt").write_bytes("José".encode("latin-1"))
    (tmp_path / "b.ann").write_text("\n")
    (tmp_path / "c.txt").write_text("Bo")
    (tmp_path / "c.ann").write_bytes(b"T1\tPER 0 2\tBo\n\xff")
    first, second, third = brat.read(tmp_path)
    assert first.document
    assert str(second.problems[0]) == f"{tmp_path / 'b.txt'}, line 1: not UTF-8 text: unexpected end of data"
    assert str(third.problems[0]) == f"{tmp_path / 'c.ann'}, line 2: not UTF-8 text: invalid start byte"


@pytest.mark.parametrize("offsets", ["0 3", "1 4"])
def test_brat_offsets_may_count_a_byte_order_mark(tmp_path, offsets):
    """A byte order mark is no text; brat counts it and other tools do not, and the mention decides."""
    (tmp_path / "a.txt").write_text("\ufeffAda")
    (tmp_path / "a.ann").write_text(f"\ufeffT1\tPER {offsets}\tAda")
    (parsed,) = brat.read(tmp_path)
    assert parsed.document == document("Ada", (0, 3, "PER"), name="a")


def test_brat_reads_folders_within_and_single_files(tmp_path):
    """Folders within are read, ids hold their names; either file of a pair stands for both."""
    (tmp_path / "in").mkdir()
    read(tmp_path / "in", "T1\tPER 0 3\tAda")
    assert [reading.document.id for reading in brat.read(tmp_path)] == ["in/a"]
    for name in ("a.txt", "a.ann"):
        assert [reading.document.id for reading in brat.read(tmp_path / "in" / name)] == ["a"]
    with pytest.raises(ConfigurationError, match="neither a folder"):
        list(brat.read(tmp_path / "in" / "a.pdf"))


def test_brat_names_files_by_ids_that_may_be_anything(tmp_path):
    """An id becomes a safe file name and comes back; a document without one is numbered."""
    names = ["../up", ".hidden", "a b", "名", "100%", ""]
    brat.write([document("Ada", name=name) for name in names], tmp_path / "out")
    assert all(file.parent == tmp_path / "out" for file in tmp_path.rglob("*.txt"))
    assert {reading.document.id for reading in brat.read(tmp_path / "out")} == {*names[:-1], "000006"}


def test_brat_does_not_mix_or_overwrite_files(tmp_path):
    """Two documents of one id, a folder with something in it and the name of a file are refused."""
    twice = [document("Ada", name="1"), document("Bo", name="1")]
    with pytest.raises(ConfigurationError, match=r"2 documents would be .*1\.txt"):
        brat.write(twice, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="needs a folder"):
        brat.write(twice[:1], tmp_path / "out.ann")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").touch()
    with pytest.raises(ConfigurationError, match="not empty"):
        brat.write(twice[:1], tmp_path / "out")


def test_brat_says_what_it_cannot_hold():
    """A label with white space and an id too long for a file name are named before anything is written."""
    assert "two words" in brat.obstacles(document("Ada", (0, 3, "two words")), Options())[0]
    assert "too long" in brat.obstacles(document("Ada", name="x" * 300), Options())[0]
    assert "byte order mark" in brat.obstacles(document("\ufeffAda"), Options())[0]

"""Columns."""

import pytest

from stream.corpora import conll
from stream.corpora.parsing import Options
from stream.corpora.tokens import Scheme
from stream.errors import ConfigurationError
from tests.corpora.documents import document

FOUR_COLUMNS = """-DOCSTART- -X- -X- O

# sent_id = 1
Ada NNP I-NP B-PER
Lovelace NNP I-NP I-PER
saw VBD I-VP O
#1 NN I-NP O\r

\t
Oslo NNP I-NP B-LOC"""


def test_conll_reads_first_and_last_column(tmp_path):
    """Token first, tag last; document starts, comments, blank lines and carriage returns are no tokens."""
    file = tmp_path / "names.conll"
    file.write_text(FOUR_COLUMNS, newline="")
    first, second = (reading.document for reading in conll.read(file))
    assert first == document("Ada Lovelace saw #1", (0, 12, "PER"), name="names-1")
    assert second == document("Oslo", (0, 4, "LOC"), name="names-2")


def test_conll_parts_columns_by_tabs_where_there_are_tabs(tmp_path):
    """A token between tabs may be what spaces would part."""
    file = tmp_path / "names"
    file.write_text("New York\t_\tB-LOC\n")
    (reading,) = conll.read(file)
    assert reading.document == document("New York", (0, 8, "LOC"), name="names-1")


def test_conll_names_lines(tmp_path):
    """Every problem has the line it is on, and so has every entity."""
    file = tmp_path / "names"
    file.write_text("Ada B-PER\nOslo\nBo I-LOC\n\nAda O\nBo B-PER\n")
    bad, good = conll.read(file)
    assert bad.document is None
    assert [(problem.place.line, problem.reason[:18]) for problem in bad.problems] == [
        (2, '"Oslo" is no token'),
        (3, "I-LOC continues no"),
    ]
    assert good.place.line == 5
    assert good.place_of(0).line == 6


GERMEVAL = """#\thttp://example.org/a [2020-01-01]
1\tFrau\tO\tO
2\tMarta\tB-PER\tO
3\tLindgren\tI-PER\tO
4\tbesuchte\tO\tO
5\tUniversität\tB-ORG\tO
6\tLund\tI-ORG\tB-LOC

1\tSie\tO\tO
"""
CONLL_U = """# text = Marta Lind reiser
1-2\tMarta-Lind\t_\t_\t_
1\tMarta\tPROPN\t_\tB-PER
2\tLind\tPROPN\t_\tI-PER
2.1\tog\tCCONJ\t_\t_
3\treiser\tVERB\t_\tO
"""


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        (GERMEVAL, (2, 3), [(5, 19, "PER"), (29, 45, "ORG")]),
        (GERMEVAL, (2, 4), [(41, 45, "LOC")]),
        (GERMEVAL, (2, 3, 4), [(5, 19, "PER"), (29, 45, "ORG"), (41, 45, "LOC")]),
        (CONLL_U, (2, 5), [(0, 10, "PER")]),
        ("B-PER x Ada\nO x sang\n", (3, 1), [(0, 3, "PER")]),
    ],
)
def test_conll_reads_named_columns(tmp_path, content, columns, expected):
    """Token and tags are read from the columns that are named; words that are no tokens are passed over."""
    file = tmp_path / "names"
    file.write_text(content)
    first, *_ = conll.read(file, Options(columns=columns))
    assert first.problems == ()
    assert [(each.start, each.end, each.label) for each in first.document.entities] == expected
    assert all(word.isalpha() for word in first.document.text.split())


def test_conll_names_lines_without_a_named_column(tmp_path):
    """A line that ends before the column named is bad."""
    file = tmp_path / "names"
    file.write_text("1\tAda\tO\n2\tBo\n")
    (parsed,) = conll.read(file, Options(columns=(2, 3)))
    assert [problem.place.line for problem in parsed.problems] == [2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GERMEVAL, ["numbers and no tokens", "--columns 2,3;", "tags in column 3 and 4"]),
        (CONLL_U, ["numbers and no tokens", "--columns 2,3"]),
        ("0 Ada B-PER\n1 sang O\n", ["numbers and no tokens", "--columns 2,3;"]),
        ("doc1 Ada B-PER\ndoc1 sang O\n\ndoc2 Bo B-PER\ndoc2 sang O\n", ["never changes"]),
        ("B-PER x Ada\nO x sang\n", ['"Ada" and the like', "tags in column 1"]),
        ("Ada B-PER anna\nsang O anna\n", ['"anna" and the like', "--columns 2,2"]),
    ],
)
def test_conll_refuses_another_layout(tmp_path, content, words):
    """A first column without tokens or a last without tags is refused, with a hint at the right ones."""
    file = tmp_path / "names"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        list(conll.read(file))
    for each in ["names", *words]:
        assert each in str(refused.value)


@pytest.mark.parametrize("content", ["1 CD B-X\n2 CD I-X\nAda NN O\n", "1 O\n2 O\n", "ha X O\nha X O\n"])
def test_conll_takes_numbers_and_repeats_for_tokens(tmp_path, content):
    """Numbers among words are tokens, and so are numbers in two columns and a word that repeats."""
    file = tmp_path / "names"
    file.write_text(content)
    (parsed,) = conll.read(file)
    assert parsed.document


def test_conll_reads_iob1_when_told(tmp_path):
    """IOB1 is read as such; by itself the same file has an I- without a B-, and the message says how."""
    file = tmp_path / "names"
    file.write_text("Ada I-PER\nBo B-PER\n")
    (reading,) = conll.read(file, scheme=Scheme.IOB1)
    assert [entity.text for entity in reading.document.entities] == ["Ada", "Bo"]
    (problem,) = next(conll.read(file)).problems
    assert "--from iob1" in problem.reason


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (Options(), ["见U.S.'s", "华为", "s,", "(", "Mate3", "0)"]),
        (Options(cjk=True), ["见", "U.S.'s", "华", "为", "s,", "(", "Mate3", "0)"]),
        (Options(split_punctuation=True), ["见U.S", ".", "'", "s", "华为", "s", ",", "(", "Mate3", "0", ")"]),
    ],
)
def test_conll_tokens(tmp_path, options, tokens):
    """Text is cut at white space and at the ends of entities, beside CJK and at punctuation when asked to."""
    text = "见U.S.'s  华为s, (Mate30)"
    file = tmp_path / "names"
    at, end = text.index("华"), text.index("0)")
    conll.write([document(text, (at, at + 2, "ORG"), (text.index("M"), end, "X"))], file, options)
    assert [line.split("\t")[0] for line in file.read_text().split("\n") if line] == tokens


def test_conll_cjk_puts_no_space_beside_such_a_character(tmp_path):
    """With the option a Chinese or Japanese text has no spaces but those between other words; Korean has."""
    file = tmp_path / "names"
    file.write_text(
        "\n".join(f"{token} O" for token in ["我", "爱", "New", "York", "、", "カ", "한국", "말"])
    )
    assert next(conll.read(file)).document.text == "我 爱 New York 、 カ 한국 말"
    assert next(conll.read(file, Options(cjk=True))).document.text == "我爱New York、カ한국 말"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (document(" \n"), "no tokens"),
        (document("Ada Bo", (0, 4, "PER")), "white space"),
        (document("Ada", (0, 3, "two words")), '"two words"'),
        (document("a -DOCSTART-"), "-DOCSTART-"),
        (document("\ufeffAda"), "byte order mark"),
    ],
)
def test_conll_says_what_it_cannot_hold(bad, words):
    """Anything that columns would lose is named before a file is written."""
    (reason,) = conll.obstacles(bad, Options())
    assert words in reason


@pytest.mark.parametrize("line", ["Ada", "\t \tB-PER", " \tO"])
def test_conll_needs_a_token_and_a_tag(tmp_path, line):
    """A line without a token or without a tag is bad, also where white space stands for one."""
    file = tmp_path / "names"
    file.write_text(f"Oslo\tO\n{line}\n")
    (reading,) = conll.read(file, Options(cjk=True))
    assert [problem.place.line for problem in reading.problems] == [2]

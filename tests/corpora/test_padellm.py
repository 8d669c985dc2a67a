"""The data files of the paper's authors."""

import json

import pytest

from stream.corpora import padellm
from tests.corpora.documents import document


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [["Ada met Bo Lee .", [0, 0, "Ada", "PER"], [2, 3, "Bo Lee", "PER"]], ["."]],
            [
                document("Ada met Bo Lee .", (0, 3, "PER"), (8, 14, "PER"), name="x-1"),
                document(".", name="x-2"),
            ],
        ),
        (
            [["the c-fos and c-jun genes .", [1, 5, "c-fos and c-jun genes", "DNA"], [1, 2, "c-fos", "DNA"]]],
            [document("the c-fos and c-jun genes .", (4, 25, "DNA"), (4, 9, "DNA"), name="x-1")],
        ),
        (
            [["《名》4", [1, 1, "名", "TV"], [3, 3, "4", "MISC"]]],
            [document("《名》4", (1, 2, "TV"), (3, 4, "MISC"), name="x-1")],
        ),
        ([["Ada", [0, 3, "Ada", "PER"]]], [document("Ada", (0, 3, "PER"), name="x-1")]),
    ],
    ids=["inclusive words", "exclusive words", "inclusive characters", "exclusive characters"],
)
def test_padellm_finds_what_a_file_numbers(tmp_path, rows, expected):
    """Words or characters, with the last of them or without: the mentions of a file tell."""
    file = tmp_path / "x.json"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert [reading.document for reading in padellm.read(file)] == expected


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["Bo met Ada", [0, 0, "Ada", "PER"]], '"Ada" is marked at 0-2, where the text has "Bo"'),
        (
            ["Bo", [7, 7, "Bo", "PER"]],
            '"Bo" is marked at 7-7, which is no place in the text (most numbers of the file',
        ),
        (["Bo", [0, 0, "Bo"]], '[0, 0, "Bo"] is no [first'),
        (["Bo", [0, 0, "Bo", ""]], '"" is no label'),
        ([""], "the text is empty"),
        ([], "[] is no [text"),
        ({"texts": "Bo", "pred": {}}, "is no [text"),
    ],
)
def test_padellm_says_what_is_wrong_with_a_line(tmp_path, row, words):
    """A mention that is not where most numbers of the file say is named with its line."""
    file = tmp_path / "x.json"
    good = [["Ada met Bo", [0, 0, "Ada", "PER"], [2, 2, "Bo", "PER"]]] * 3
    file.write_text("\n".join(map(json.dumps, [*good, row])))
    bad = list(padellm.read(file))[-1]
    assert str(bad.problems[0]).startswith(f"{file}, line 4: ")
    assert words in bad.problems[0].reason


def test_padellm_sends_result_files_elsewhere(tmp_path):
    """A result file, which is one array, is no annotated data, and the message says what it may be."""
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{"id": 0, "texts": "Bo", "pred": {}, "gt": {}}], indent=4))
    assert "result file" in next(padellm.read(file)).problems[0].reason

"""Baselines' prompts and answers."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.baselines.answers import GoldMention, mark_tokens
from stream.baselines.config import Baseline
from stream.baselines.prompts import BaselinePrompts
from stream.errors import CheckpointError
from stream.ner.labels import LabelWords
from stream.ner.text_tokens import TextTokens
from tests.baselines.templates import marked_template
from tests.ner.oracle import tiny_template

TEMPLATE = marked_template(*Baseline)
PROMPTS = {baseline: BaselinePrompts(TEMPLATE, baseline) for baseline in Baseline}
LABELS = {"LOC": LabelWords("place", "place: Where."), "ORG": LabelWords("group", "group")}
JAPAN = "Japan told FIFA"
MENTIONS = [GoldMention("LOC", 0, 5), GoldMention("ORG", 11, 15)]
wild = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["<(><:>x<)>", "a<,>b<]>", "((LOC : a) , b", "東京"]
)


def shown(baseline, text, mentions, labels=LABELS):
    """Prompt and answer of every prompt about a text."""
    spelled = TextTokens.of(text, TEMPLATE)
    asked = PROMPTS[baseline].prompts(TEMPLATE.prefix_ids(spelled.encoded.ids), labels)
    return [
        (TEMPLATE.show(one.ids), TEMPLATE.show(PROMPTS[baseline].answer(one, spelled, mentions)))
        for one in asked
    ]


def test_prompts_struct_answers_all_labels_in_the_papers_form():
    """AutoReg_Struct's prompt names the labels, its answer lists label and mention in the text's order."""
    prompt = f"text:\n{JAPAN}\nentity type:\nplace: Where.<,>group\n\n<num>"
    answer = "<(><(>place<:>Japan<)><,><(>group<:>FIFA<)><)>"
    assert shown(Baseline.AUTOREG_STRUCT, JAPAN, MENTIONS[::-1]) == [(prompt, answer)]
    assert shown(Baseline.AUTOREG_STRUCT, "no", [])[0][1] == "<(><)>"


def test_prompts_aug_repeats_the_text_with_nested_marks():
    """AutoReg_Aug writes the text again with marks, outer ones around inner ones."""
    nested = [GoldMention("LOC", 12, 17), GoldMention("ORG", 4, 17), GoldMention("LOC", 4, 17)]
    ((_, answer),) = shown(Baseline.AUTOREG_AUG, "the Bank of Japan", nested)
    assert answer == "the <[><[>Bank of <[>Japan<|>place<]><|>place<]><|>group<]>"
    assert shown(Baseline.AUTOREG_AUG, JAPAN, [])[0][1] == JAPAN


def test_prompts_aug_leaves_out_what_crosses():
    """Of two mentions that cross, which brackets cannot say, the first is marked."""
    ((_, answer),) = shown(Baseline.AUTOREG_AUG, "abcd", [GoldMention("LOC", 0, 3), GoldMention("ORG", 1, 4)])
    assert answer == "<[>abc<|>place<]>d"


def test_prompts_onestep_asks_every_label_apart():
    """OneStep lists one label's mentions, and answers nothing where there are none."""
    twice = [GoldMention("LOC", 0, 1), GoldMention("LOC", 2, 3)]
    prompt = "text:\na b\nentity type:\n{}\n\n<num>"
    assert shown(Baseline.ONESTEP, "a b", twice) == [
        (prompt.format("place: Where."), "a<,>b"),
        (prompt.format("group"), ""),
    ]


@pytest.mark.parametrize("baseline", Baseline)
def test_prompts_no_labels_ask_nothing(baseline):
    """Without labels there is no prompt, whatever the format."""
    assert PROMPTS[baseline].prompts((1, 2), {}) == []


@pytest.mark.parametrize("baseline", Baseline)
@given(st.lists(wild, min_size=1, max_size=5), st.data())
def test_prompts_answers_are_read_back(baseline, pieces, data):
    """Reading an answer gives the mentions that it was written for, whatever text and labels hold."""
    text = " ".join(pieces)
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=6)))
    spans = data.draw(st.lists(st.sampled_from(list(combinations(borders, 2))), unique=True))
    # White space at the ends of a text is not read, and a mention has none there.
    spans = [(a, b) for a, b in spans if text[a:b] and text[a:b] == text[a:b].strip()]
    # Brackets cannot say what crosses.
    spans = [(a, b) for a, b in spans if not any(c < a < d < b or a < c < b < d for c, d in spans)]
    first, second = data.draw(st.tuples(wild, wild).filter(lambda names: names[0] != names[1]))
    labels = {"A": LabelWords(first, f"{first}: such."), "B": LabelWords(second, second)}
    mentions = [GoldMention(data.draw(st.sampled_from("AB")), a, b) for a, b in spans]
    spelled = TextTokens.of(text, TEMPLATE)
    found = []
    for prompt in PROMPTS[baseline].prompts(TEMPLATE.prefix_ids(spelled.encoded.ids), labels):
        answer = PROMPTS[baseline].answer(prompt, spelled, mentions)
        found += [
            (one.label, tuple(answer[place] for place in one.places))
            for one in PROMPTS[baseline].read(prompt, answer)
        ]
    ordered = sorted(mentions, key=lambda one: (one.start, -one.end))
    if baseline is Baseline.ONESTEP:
        ordered.sort(key=lambda one: one.label)
    assert found == [(one.label, TEMPLATE.encode_text(text[one.start : one.end]).ids) for one in ordered]


MARKS = {
    baseline: [TEMPLATE.control_token(token) for token in mark_tokens(baseline)] for baseline in Baseline
}
WORDS = [TEMPLATE.encode_text(word).ids for word in ("x", "group", "place")]


@pytest.mark.parametrize("baseline", Baseline)
@given(st.data())
def test_prompts_read_any_answer(baseline, data):
    """Any answer is read without failing: known labels, and mentions that hold no marks."""
    pieces = st.sampled_from([*((mark,) for mark in MARKS[baseline]), *WORDS])
    answer = [token for piece in data.draw(st.lists(pieces, max_size=20)) for token in piece]
    for prompt in PROMPTS[baseline].prompts((1,), LABELS):
        for one in PROMPTS[baseline].read(prompt, answer):
            assert one.label in prompt.labels
            assert one.places
            assert not {answer[place] for place in one.places} & set(MARKS[baseline])


def test_prompts_a_comma_between_brackets_is_no_mention():
    """A mark that has no place in AutoReg_Aug's form is not read as text, alone or within a mention."""
    comma, opening, middle, closing = MARKS[Baseline.AUTOREG_AUG]
    (prompt,) = PROMPTS[Baseline.AUTOREG_AUG].prompts((1,), LABELS)
    word = WORDS[0]
    label = prompt.labels["ORG"]
    alone = [opening, comma, middle, *label, closing]
    within = [opening, comma, *word, middle, *label, closing]
    assert PROMPTS[Baseline.AUTOREG_AUG].read(prompt, alone) == []
    (one,) = PROMPTS[Baseline.AUTOREG_AUG].read(prompt, within)
    assert tuple(within[place] for place in one.places) == word


def test_prompts_a_checkpoint_without_the_marks_is_refused():
    """A tokenizer of another format is named as such; forced answers can do without marks of their own."""
    with pytest.raises(CheckpointError, match=r"no control token <,> nor <\(> nor <:> nor <\)>"):
        BaselinePrompts(tiny_template(), Baseline.AUTOREG_STRUCT)
    forced = BaselinePrompts(tiny_template(), Baseline.AUTOREG_STRUCT, forced=True)
    (prompt,) = forced.prompts((1,), LABELS)
    answer = forced.answer(prompt, TextTokens.of(JAPAN, TEMPLATE), MENTIONS)
    assert TEMPLATE.show(answer) == "((place:Japan),(group:FIFA))"

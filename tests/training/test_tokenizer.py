"""The tokenizer of our own checkpoints."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stream.baselines.answers import mark_tokens
from stream.baselines.config import Baseline, BaselineConfig
from stream.training.tokenizer import CheckpointTokenizer, adopt_tokenizer, control_tokens
from tests.training.synthetic import ner_config, template, tokenizer

TOKENIZER = tokenizer()
TEMPLATE = template(TOKENIZER)
WILD = [
    "👩‍👩‍👧 ok",
    "日本の東京Tokyo 한국의",
    "a\r\nb\u00a0c\td ",
    "cafe\u0301 naïve",
    " lead",
    "....====",
    "</s>1\n",
    "İstanbul",
]


@given(st.text())
@example(WILD[0])
@example(WILD[1])
@example(WILD[2])
@example(WILD[3])
@example(WILD[6])
def test_tokenizer_decodes_what_it_encoded(text):
    """Decoding gives the text's words back, one white character before each of them."""
    ids = TEMPLATE.encode_text(text).ids
    decoded = TEMPLATE._tokenizer.decode(list(ids))
    assert re.split(r"[ \n]", decoded) == (["", *text.split()] if text.split() else [""])


@given(st.one_of(st.text(), st.sampled_from(WILD)))
def test_tokenizer_offsets_cover_the_text_in_order(text):
    """Offsets are code points, never go back, and leave no character out but white space at the end."""
    offsets = TEMPLATE.encode_text(text).offsets
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered == set(range(len(text.rstrip())))
    assert all(before[1] <= after[1] for before, after in pairwise(offsets))


@pytest.mark.parametrize(
    ("text", "borders"),
    [
        ("Japan's FIFA, (Reuters)", ["Japan", "'s", "FIFA", ",", "(", "Reuters", ")"]),
        ("US-based U.S.-led", ["US", "-", "based", "U.S.", "-", "led"]),
        ("Born 1912 in F1", ["Born", "1912", "in", "F", "1"]),
        ("東京Tokyo", ["東", "京", "Tokyo"]),
        ("Oslo\r\nParis", ["Oslo", "\r\n", "Paris"]),
    ],
)
def test_tokenizer_borders_fall_where_entities_begin_and_end(text, borders):
    """Every word, number, mark and single CJK character begins and ends at token borders, in raw text too."""
    offsets = TEMPLATE.encode_text(text).offsets
    starts, ends = {start for start, _ in offsets}, {end for _, end in offsets}
    at = 0
    for piece in borders:
        at = text.index(piece, at)
        before = at - 1 if at and text[at - 1] == " " else at
        assert before in starts or at in starts
        assert at + len(piece) in ends
        at += len(piece)


def test_tokenizer_spells_the_first_word_like_any_other():
    """A word has the same ids at the start of a text as after a space."""
    first, later = TEMPLATE.encode_text("Paris").ids, TEMPLATE.encode_text("in Paris").ids
    assert later[-len(first) :] == first


def test_tokenizer_gives_each_control_token_one_id():
    """Every marker, count answer and the end are single ids, all different."""
    ids = [TOKENIZER.token_to_id(token) for token in control_tokens(ner_config())]
    assert None not in ids
    assert len(set(ids)) == len(ids)
    assert {len(answer) for answer in TEMPLATE._answers} == {1}


@pytest.mark.parametrize("baseline", Baseline)
def test_tokenizer_of_a_baseline_has_its_marks_too(baseline, tmp_path):
    """Marks are control tokens, whether the tokenizer was trained for them or is another format's."""
    config = BaselineConfig(format=baseline, ner=ner_config())
    trained = tokenizer(baseline=baseline)
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    extended = adopt_tokenizer(tmp_path, config).tokenizer
    assert extended.get_vocab_size() == TOKENIZER.get_vocab_size() + len(mark_tokens(baseline))
    assert {extended.id_to_token(n): n for n in range(TOKENIZER.get_vocab_size())} == TOKENIZER.get_vocab()
    for each in (trained, extended):
        prompts = template(each)
        assert None not in [prompts.control_token(token) for token in control_tokens(config)]


def test_tokenizer_saved_and_loaded_is_the_same(tmp_path):
    """``AutoTokenizer`` reads the folder, beside a Llama's config too, and encodes alike."""
    from transformers import AutoTokenizer, LlamaConfig

    fresh = Tokenizer.from_str(TOKENIZER.to_str())
    CheckpointTokenizer(fresh).save(tmp_path, 512)
    LlamaConfig().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.eos_token == "</s>"
    for text in [*WILD, "Grace Hopper ( Oslo ) won ."]:
        assert loaded.encode(text, add_special_tokens=False) == fresh.encode(text).ids

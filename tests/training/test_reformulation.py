"""Sentences as trees of training examples."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream.training.detokenise import detokenise
from stream.training.reformulation import Reformulator, choose_phrases, separate_examples, token_range
from tests.training.synthetic import sentence, template

TEMPLATE = template()
PHRASES = ("person", "location")
REFORMULATOR = Reformulator(TEMPLATE, PHRASES)
MEETING = sentence("Ada met Alan in Oslo .", ("Ada", "person"), ("Alan", "person"), ("Oslo", "location"))


def test_reformulation_follows_the_paper():
    """A tree holds one count example per label, also an absent one, and one example per mention."""
    nobody = sentence("Ada won .", ("Ada", "person"))
    prefix = TEMPLATE.prefix_ids(TEMPLATE.encode_text(nobody.text).ids)
    person, location = (TEMPLATE.count_prompt(prefix, TEMPLATE.encode_text(p).ids) for p in PHRASES)
    examples = separate_examples(REFORMULATOR.tree(nobody, PHRASES))
    assert [(e.prompt, e.answer) for e in examples] == [
        (person.ids, TEMPLATE.count_answer_ids(1)),
        (TEMPLATE.mention_prompt(person, 1, 1).ids, (*TEMPLATE.encode_text("Ada").ids, TEMPLATE.end_id)),
        (location.ids, TEMPLATE.count_answer_ids(0)),
    ]


def test_reformulation_counts_every_occurrence():
    """The same name twice is two mentions."""
    twice = sentence("Ada met Ada .", ("Ada", "person"), ("Ada", "person"))
    (branch,) = REFORMULATOR.tree(twice, ["person"]).branches
    assert branch.count == TEMPLATE.count_answer_ids(2)
    assert len(branch.mentions) == 2


def test_reformulation_cuts_at_the_highest_count():
    """More mentions than the model can count are answered with the highest count, and the first mentions."""
    many = sentence(" ".join(["Ada"] * 15), *[("Ada", "person")] * 15)
    (branch,) = REFORMULATOR.tree(many, ["person"]).branches
    assert branch.count == TEMPLATE.count_answer_ids(12)
    assert len(branch.mentions) == 12


def test_reformulation_answers_are_slices_of_the_text():
    """A mention is answered by the very ids that spell it in the text, after a bracket too."""
    raw = detokenise(sentence("-LPR- Ada , Oslo -RPR-", ("Ada", "person"), ("Oslo", "location")))
    tree = REFORMULATOR.tree(raw, PHRASES)
    text = tree.root[1:]
    for branch in tree.branches:
        answer = branch.mentions[0][branch.markers :]
        assert any(text[n : n + len(answer)] == answer for n in range(len(text)))


def test_reformulation_tags_and_ordinals_mark_the_mentions():
    """Tags tell first from later tokens of a mention, ordinals count the mentions of each label."""
    tree = REFORMULATOR.tree(MEETING, PHRASES)
    assert len(tree.tags) == len(tree.ordinals) == len(tree.root)
    starts = [(tag, ordinal) for tag, ordinal in zip(tree.tags, tree.ordinals, strict=True) if tag % 2]
    assert starts == [(1, 1), (1, 2), (3, 1)]


def test_reformulation_length_counts_shared_parts_once():
    """A tree is as long as its root and its branches; the last token of an answer is not read."""
    tree = REFORMULATOR.tree(MEETING, ["person"])
    read = set()
    for example in separate_examples(tree):
        ids = example.prompt + example.answer[:-1]
        read |= {ids[: n + 1] for n in range(len(ids))}
    assert len(tree) == len(read)


@given(st.text(max_size=30), st.data())
def test_reformulation_token_range_spells_exactly_the_span(text, data):
    """A range of tokens found for a span covers the span, and no more than white space before it."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    encoded = TEMPLATE.encode_text(text)
    tokens = token_range(text, encoded, start, end) if end > start else None
    if tokens:
        covered = text[encoded.offsets[tokens[0]][0] : encoded.offsets[tokens[1] - 1][1]]
        assert covered.lstrip() == text[start:end].lstrip()


@given(st.integers(1, 6), st.integers(0, 99))
def test_reformulation_chosen_phrases_hold_an_absent_one(most, seed):
    """The choice has no doubles, fits the limit, and asks for something absent where the inventory has it."""
    inventory = ("person", "location", "date", "money", "event")
    drawn = choose_phrases(
        sentence("Ada in Oslo", ("Ada", "person"), ("Oslo", "location"), inventory=inventory),
        most,
        Random(seed),
    )
    assert len(drawn) == len(set(drawn)) == min(most, len(inventory))
    assert set(drawn) - {"person", "location"}

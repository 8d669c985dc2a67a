"""Sentences as trees of training examples."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.baselines.config import Baseline
from stream.ner.config import LabelConfig
from stream.ner.labels import LabelWords
from stream.training.augment import detokenise
from stream.training.reformulation import (
    Reformulator,
    choose_phrases,
    separate_examples,
    word_labels,
)
from tests.training.synthetic import ner_config, reformulator, sentence, template

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


def test_reformulation_bio_tags_and_mention_indices_mark_the_mentions():
    """Tags set a mention's first token apart from later ones; indices number the mentions of each label."""
    tree = REFORMULATOR.tree(MEETING, PHRASES)
    assert len(tree.bio_tags) == len(tree.mention_indices) == len(tree.root)
    starts = [(tag, index) for tag, index in zip(tree.bio_tags, tree.mention_indices, strict=True) if tag % 2]
    assert starts == [(1, 1), (1, 2), (3, 1)]


def test_reformulation_length_counts_shared_parts_once():
    """A tree is as long as its root and its branches; the last token of an answer is not read."""
    tree = REFORMULATOR.tree(MEETING, ["person"])
    read = set()
    for example in separate_examples(tree):
        ids = example.prompt + example.answer[:-1]
        read |= {ids[: n + 1] for n in range(len(ids))}
    assert len(tree) == len(read)


@given(st.integers(1, 6), st.integers(0, 99))
def test_reformulation_chosen_phrases_hold_a_present_and_an_absent_one(most, seed):
    """The choice has no doubles, fits the limit, and holds a present label and, if it can, an absent one."""
    inventory = ("person", "location", "date", "money", "event")
    drawn = choose_phrases(
        sentence("Ada in Oslo", ("Ada", "person"), ("Oslo", "location"), inventory=inventory),
        most,
        Random(seed),
    )
    assert len(drawn) == len(set(drawn)) == min(most, len(inventory))
    assert set(drawn) & {"person", "location"}
    assert most == 1 or set(drawn) - {"person", "location"}


@pytest.mark.parametrize(
    ("baseline", "prompts", "answers"),
    [
        (
            Baseline.AUTOREG_STRUCT,
            [" who: Somebody.<,> location"],
            ["<(><(> who<:> Ada<)><,><(> who<:> Alan<)><,><(> location<:> Oslo<)><)></s>"],
        ),
        (
            Baseline.AUTOREG_AUG,
            [" who: Somebody.<,> location"],
            ["<[> Ada<|> who<]> met<[> Alan<|> who<]> in<[> Oslo<|> location<]> .</s>"],
        ),
        (
            Baseline.ONESTEP,
            [" who: Somebody.", " location"],
            [" Ada<,> Alan</s>", " Oslo</s>"],
        ),
    ],
)
def test_reformulation_trees_of_baselines_hold_a_branch_for_every_prompt(baseline, prompts, answers):
    """A baseline's tree has the same root, and branches that ask in the words given and answer by name."""
    words = {"person": LabelWords("who", "who: Somebody."), "location": LabelWords("location", "location")}
    made = reformulator(baseline)
    tree = made.tree(MEETING, words)
    show = made._template.show
    assert [show(branch.prompt) for branch in tree.branches] == [
        f"\nentity type:\n{asked}\n\n<num>" for asked in prompts
    ]
    assert [show(branch.count) for branch in tree.branches] == answers
    assert not any(branch.mentions for branch in tree.branches)
    assert show(tree.root) == f"text:\n {MEETING.text}"


@pytest.mark.parametrize("baseline", Baseline)
def test_reformulation_baselines_leave_out_labels_not_asked_for(baseline):
    """Mentions of other labels are in no answer, and a text asked for nothing has no branch."""
    made = reformulator(baseline)
    (branch,) = made.tree(MEETING, ["location"]).branches
    names = made._template.encode_text("Ada Alan").ids
    if baseline is not Baseline.AUTOREG_AUG:
        assert not set(branch.count) & set(names)
    assert made._template.control_token("<mention 1>") not in branch.count
    assert made.tree(MEETING, []).branches == ()


FIVE = sentence(
    "Ada in Oslo",
    ("Ada", "person"),
    ("Oslo", "location"),
    inventory=("person", "date", "location", "money", "event"),
)


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 99))
def test_reformulation_absent_phrases_are_no_more_than_asked_for(most, max_absent, seed):
    """Labels without a mention are held to their limit, and what there is takes the place of the rest."""
    drawn = choose_phrases(FIVE, most, Random(seed), max_absent=max_absent)
    assert len(set(drawn) - {"person", "location"}) <= max_absent
    assert len(drawn) == min(most, 2 + min(max_absent, 3))


def test_reformulation_absent_share_decides_how_many_remain():
    """A third of the labels without a mention is asked for, and all that have one."""
    drawn = [choose_phrases(FIVE, 5, Random(seed), absent_share=1 / 3) for seed in range(600)]
    assert all({"person", "location"} <= set(phrases) for phrases in drawn)
    assert 0.8 < sum(len(phrases) - 2 for phrases in drawn) / len(drawn) < 1.2


@given(st.integers(1, 5), st.integers(0, 99))
def test_reformulation_phrases_can_keep_the_inventorys_order(most, seed):
    """Unshuffled, the chosen labels stand as in the corpus's inventory, and are those of a shuffled draw."""
    drawn = choose_phrases(FIVE, most, Random(seed), shuffled=False)
    assert drawn == [phrase for phrase in FIVE.inventory if phrase in drawn]
    assert set(drawn) == set(choose_phrases(FIVE, most, Random(seed)))


def test_reformulation_labels_can_be_worded_as_a_request_words_them():
    """An alias and a definition reach the prompt as the template sets a request's, and the answers stay."""
    labels = {"person": LabelConfig(aliases=("PER",), description="People."), "location": LabelConfig()}
    config = ner_config().model_copy(update={"labels": labels})
    words = word_labels(["person", "location"], config, Random(0), described=1.0, aliased=1.0)
    assert words == {
        "person": LabelWords("PER", "PER: People."),
        "location": LabelWords("location", "location"),
    }
    plain, worded = REFORMULATOR.tree(MEETING, PHRASES), REFORMULATOR.tree(MEETING, words)
    label = TEMPLATE.encode_text("PER: People.").ids
    assert worded.branches[0].prompt == TEMPLATE.count_prompt((), label).ids
    assert [(b.count, b.mentions) for b in worded.branches] == [(b.count, b.mentions) for b in plain.branches]
    assert worded.branches[1:] == plain.branches[1:]


def test_reformulation_wording_follows_its_shares():
    """Aliases and descriptions come as often as asked for, independently of each other."""
    labels = {"person": LabelConfig(aliases=("PER", "people"), description="People.")}
    config = ner_config().model_copy(update={"labels": labels})
    rng = Random(0)
    drawn = [word_labels(["person"], config, rng, described=0.25, aliased=0.5)["person"] for _ in range(800)]
    assert 0.2 < sum(words.asked == f"{words.name}: People." for words in drawn) / 800 < 0.3
    assert 0.45 < sum(words.name != "person" for words in drawn) / 800 < 0.55
    assert {words.name for words in drawn} == {"person", "PER", "people"}

"""Random changes to sentences."""

from random import Random

from stream.training.augment import join, names_by_phrase, swap_names, upper_case
from tests.training.synthetic import sentence

ADA = sentence("Ada saw Oslo .", ("Ada", "person"), ("Oslo", "location"))


def spelled(result) -> list[str]:
    """The texts of a sentence's mentions."""
    return [result.text[m.start : m.end] for m in result.mentions]


def test_augment_swapped_names_keep_their_places():
    """Each mention becomes a name of its own phrase, and the rest of the text stays."""
    names = {"person": ["Grace Hopper"], "location": ["New York"]}
    swapped = swap_names(ADA, names, 1.0, Random(0))
    assert swapped.text == "Grace Hopper saw New York ."
    assert spelled(swapped) == ["Grace Hopper", "New York"]


def test_augment_swap_leaves_nested_mentions_alone():
    """A sentence with one mention inside another is not changed."""
    nested = sentence("Bank of Oslo", inventory=("organization", "location"))
    outer = sentence("Bank of Oslo", ("Bank of Oslo", "organization")).mentions
    inner = sentence("Bank of Oslo", ("Oslo", "location")).mentions
    nested = type(nested)(nested.text, outer + inner, nested.inventory)
    assert swap_names(nested, {"organization": ["X"], "location": ["Y"]}, 1.0, Random(0)) is nested


def test_augment_capitals_stay_capitals_when_swapped():
    """A name from a headline in capitals is replaced by one in capitals."""
    headline = sentence("BALTIMORE WINS", ("BALTIMORE", "location"))
    assert swap_names(headline, {"location": ["Oslo"]}, 1.0, Random(0)).text == "OSLO WINS"


def test_augment_joined_sentences_keep_all_mentions():
    """Mentions of every sentence are found in the joined text."""
    joined = join([ADA, ADA, ADA], "\n")
    assert spelled(joined) == ["Ada", "Oslo"] * 3
    assert joined.text.count("\n") == 2


def test_augment_upper_case_keeps_offsets():
    """Capitals are set only where no character becomes two."""
    assert spelled(upper_case(ADA)) == ["ADA", "OSLO"]
    sharp = sentence("Ada in der Straße", ("Ada", "person"))
    assert upper_case(sharp) is sharp


def test_augment_names_are_collected_by_phrase():
    """Names stand under their phrase as often as they occur; very long ones are left out."""
    long = sentence("a b c d e f", ("a b c d e f", "person"))
    assert names_by_phrase([ADA, ADA, long]) == {"person": ["Ada", "Ada"], "location": ["Oslo", "Oslo"]}

"""Every policy's figures from one decode."""

from stream.contract.messages import Policy
from stream.evaluation.alignment import Matches
from stream.evaluation.policies import GOLD, NONE, ablate, duplicates
from stream.evaluation.runner import answer, evaluate
from stream.evaluation.scores import Accuracy, Score
from stream.ner.extractor import Extractor
from tests.evaluation.test_runner import annotated
from tests.ner.oracle import Oracle, tiny_template

LABELS = ["PER", "LOC"]
DOCUMENTS = [
    annotated("Ann Rome and Rome", PER=["Ann Rome"], LOC=["Rome"]),
    annotated("Bo in Ems", PER=["Bo"], LOC=["Ems"]),
]
WRITTEN = {
    ("person", "Ann Rome and Rome"): ["Ann Rome", "Rome"],
    ("location", "Ann Rome and Rome"): ["Rome", "Rome", "Paris"],
    ("person", "Bo in Ems"): ["Bo", "Bo"],
}
SCORES = {("person", "Rome"): 0.7, ("location", "Rome"): 0.6}


def extractor():
    """Over a model that writes mentions under two labels, twice, and such as are not in the text."""
    template = tiny_template()
    oracle = Oracle(
        template,
        lambda text, label: WRITTEN.get((label, text), []),
        score=lambda label, mention: SCORES.get((label, mention), 0.9),
    )
    return Extractor(oracle, template)


async def test_policies_from_one_decode_are_those_of_a_decode_each():
    """Score and places of every policy are what an evaluation under that policy finds by itself."""
    got = await answer(DOCUMENTS, extractor(), LABELS)
    figures = ablate(got.answers, LABELS)
    for policy in Policy:
        alone = await evaluate(DOCUMENTS, extractor(), LABELS, policy=policy)
        assert figures[policy].score == alone.score
        assert figures[policy].matches == alone.all_matches


async def test_policies_duplicates_and_removals():
    """Of the pairs that were written, worked by hand: what has two labels, what goes, and what was right."""
    figures = ablate((await answer(DOCUMENTS, extractor(), LABELS)).answers, LABELS)
    # Written: PER "Ann Rome", PER and LOC "Rome", LOC "Paris"; PER "Bo".
    assert figures[NONE].score == Score(tp=3, fp=2, fn=1)
    assert figures[NONE].duplicates == Accuracy(2, 5)
    assert figures[NONE].removed == Accuracy()
    assert figures[Policy.MULTI].duplicates == Accuracy(2, 4)
    assert figures[Policy.MULTI].removed == Accuracy(0, 1)
    # The place of lower score loses its label, though it is the right one.
    assert figures[Policy.PAPER].score == Score(tp=2, fp=1, fn=2)
    assert figures[Policy.PAPER].removed == Accuracy(1, 2)
    assert figures[Policy.PAPER].duplicates == Accuracy(0, 3)
    assert figures[GOLD].duplicates == Accuracy(0, 4)


async def test_policies_none_counts_what_is_not_in_the_text():
    """Mentions without a place, and second ones of a place, are predictions all the same."""
    figures = ablate((await answer(DOCUMENTS, extractor(), LABELS)).answers, LABELS)
    assert figures[NONE].matches == figures[Policy.MULTI].matches + Matches(predicted=2)


def test_policies_duplicates_are_texts_with_several_labels():
    """Every pair of such a text is one, and a repeated text under one label is none."""
    assert duplicates({("A", "x"), ("B", "x"), ("C", "x"), ("A", "y")}) == Accuracy(3, 4)
    assert duplicates(set()) == Accuracy()

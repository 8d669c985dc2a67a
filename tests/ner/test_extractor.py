"""Documents to entities, end to end over a generator that knows the answers."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contract.messages import Document, Policy
from stream.errors import InferenceRejected, InferenceUnavailable
from stream.generation import Completion
from stream.ner.extractor import Extractor
from tests.ner.oracle import Oracle, tiny_template

NAMES = {
    "person": ["Ann", "Ann Lee", "Bo Ek", "王小明"],
    "location": ["Rome", "New York", "São Paulo", "東京"],
    "organization": ["FIFA", "Bank of Ems"],
    "miscellaneous": ["World Cup 🏆"],
}
filler = st.text(alphabet=st.characters(exclude_categories=("Cs", "L", "N", "M")), min_size=1, max_size=12)


@st.composite
def annotated(draw):
    """A text of wild filler and names set off by spaces, and where each name is."""
    text, gold = "", []
    for _ in range(draw(st.integers(0, 8))):
        text += draw(filler) + " "
        label = draw(st.sampled_from(sorted(NAMES)))
        name = draw(st.sampled_from(NAMES[label]))
        gold.append((len(text), len(text) + len(name), label))
        text += name + " "
    return text + draw(filler), gold


def names_in(text, label):
    """All names of a label in a text, in order, the longest first where they share a beginning."""
    phrase = label.split(":")[0]
    names = sorted(NAMES.get(phrase, []), key=len, reverse=True)
    return re.findall("(?<!\\S)(?:" + "|".join(map(re.escape, names)) + ")(?!\\S)", text) if names else []


def extract(document, generator, template, **options):
    """One document through a new extractor."""
    return asyncio.run(Extractor(generator, template, **options).extract(document))


def spans(extraction):
    """Position and label of every entity."""
    return [(one.start, one.end, one.label) for one in extraction.entities]


@given(annotated(), st.sampled_from([(400, 40), (160, 48)]))
def test_extractor_gold_in_is_gold_out(text_and_gold, size):
    """With a model that answers rightly, exactly the gold entities come out, in one window or several."""
    text, gold = text_and_gold
    template = tiny_template(tokens=size[0], overlap=size[1])
    document = Document(text=text, policy=Policy.MULTI)
    result = extract(document, Oracle(template, names_in), template)
    assert spans(result) == sorted(gold)
    assert all(text[one.start : one.end] == one.text for one in result.entities)
    # A window that cuts a name in two may see a shorter one in it, which is reported.
    for one in result.removed:
        assert one.reason == "overlap"
        assert any(start <= one.start and one.end <= end and label == one.label for start, end, label in gold)
    assert result.coverage.unread == []


def test_extractor_labels_come_back_as_the_document_named_them():
    """Aliases and cases resolve to the model's phrase; entities carry the document's own name."""
    template = tiny_template()
    document = Document(text="Ann in Rome", labels=["PER", "lOc"])
    result = extract(document, Oracle(template, names_in), template)
    assert spans(result) == [(0, 3, "PER"), (7, 11, "lOc")]
    assert result.labels == ["PER", "lOc"]


def test_extractor_two_names_of_one_label_are_decoded_once_and_both_answered():
    """PER and person in one request cost one count prompt, and neither displaces the other."""
    template = tiny_template()
    oracle = Oracle(template, names_in)
    result = extract(Document(text="Ann in Rome", labels=["PER", "person"]), oracle, template)
    assert spans(result) == [(0, 3, "PER"), (0, 3, "person")]
    assert len(oracle.prompts) == 2


def test_extractor_definitions_reach_the_prompt():
    """A label with a definition is asked for with it."""
    template = tiny_template()
    oracle = Oracle(template, names_in)
    document = Document(text="Ann", labels={"PER": "a <num> human", "unheard of": "something else"})
    result = extract(document, oracle, template)
    assert spans(result) == [(0, 3, "PER")]
    assert {oracle.read(prompt)[1] for prompt in oracle.prompts} == {
        "person: a <num> human",
        "unheard of: something else",
    }


def test_extractor_default_labels_where_the_document_names_none():
    """Without labels the checkpoint's defaults are asked for; with an empty list nothing is."""
    template = tiny_template()
    oracle = Oracle(template, names_in)
    assert extract(Document(text="Ann"), oracle, template).labels == list(template.config.default_labels)
    oracle.prompts.clear()
    assert extract(Document(text="Ann", labels=[]), oracle, template).entities == []
    assert oracle.prompts == []


def test_extractor_policy_and_threshold_of_the_document_override():
    """What a document says goes before what the service is set to."""
    template = tiny_template()
    oracle = Oracle(template, lambda text, label: ["Rome"], score=lambda label, mention: len(label) / 100)
    options = {"policy": Policy.MULTI, "threshold": 0.5}
    assert extract(Document(text="Rome"), oracle, template, **options).entities == []
    labels = {"policy": Policy.PAPER, "threshold": 0.0}
    result = extract(Document(text="Rome", **labels), oracle, template, **options)
    assert spans(result) == [(0, 4, "miscellaneous")]
    assert {one.reason for one in result.removed} == {"other_label"}


def test_extractor_scores_are_products_of_token_probabilities():
    """Entity and count scores are the model's, the end token aside."""
    template = tiny_template()
    oracle = Oracle(template, names_in, score=lambda label, mention: 0.25, count_score=0.5)
    (one,) = extract(Document(text="Ann"), oracle, template).entities
    assert (one.score, one.count_score) == (pytest.approx(0.25), pytest.approx(0.5))


def test_extractor_reports_what_it_cannot_use():
    """Ungrounded mentions, repeats beyond the text's and unreadable counts are removed with reasons."""
    template = tiny_template()
    oracle = Oracle(template, lambda text, label: ["Rome", "Oslo", "Rome", ""] if label == "location" else [])
    result = extract(Document(text="Rome"), oracle, template)
    assert spans(result) == [(0, 4, "location")]
    assert [one.reason for one in result.removed] == ["ungrounded", "duplicate", "ungrounded"]

    class Babbler(Oracle):
        def _answer(self, prompt):
            return Completion(self.template.encode_text("x").ids, (float("nan"),))

    result = extract(Document(text="Rome", labels=["LOC"]), Babbler(template, names_in), template)
    assert [(one.reason, one.score, one.label) for one in result.removed] == [
        ("unreadable_count", 0.0, "LOC")
    ]


def test_extractor_keeps_the_labels_it_is_sure_of():
    """A label is as sure as its least probable answer, and not at all where an answer is unusable."""
    template = tiny_template()
    answers = {"person": ["Ann", "Bob"], "location": [], "organization": ["Nobody"]}
    oracle = Oracle(
        template,
        lambda text, label: answers[label],
        score=lambda label, mention: 0.25 if mention == "Bob" else 0.75,
        count_score=0.5,
    )
    extractor = Extractor(oracle, template)
    document = Document(text="Ann Bob", labels=list(answers))

    def sure(probability):
        kept = asyncio.run(extractor.extract(document, sure=probability))
        return kept.labels, spans(kept), list(kept.counts)

    assert sure(0.2) == (["person", "location"], [(0, 3, "person"), (4, 7, "person")], ["person", "location"])
    assert sure(0.3) == (["location"], [], ["location"])
    assert sure(0.6) == ([], [], [])


def test_extractor_reports_counts_at_the_models_limit():
    """A count that reached the limit says that mentions may be missing, where and of what label."""
    template = tiny_template(max_count=2)
    result = extract(
        Document(text="Rome, Rome"), Oracle(template, lambda text, label: ["Rome"] * 2), template
    )
    assert [span[:2] for span in result.coverage.capped] == [(0, 10)] * 4
    assert len({label for *_, label in result.coverage.capped}) == 4


def test_extractor_counts_leave_together_and_mentions_as_their_count_is_back():
    """All counts are in flight at once, and a fast label's mentions do not wait for a slow label's count."""
    template = tiny_template()
    order = []

    class SlowPerson(Oracle):
        async def generate(self, prompt):
            _, label, rest = self.read(prompt)
            order.append((label, bool(rest)))
            # Every generator suspends: an engine or a server answers later.
            await asyncio.sleep(0.05 if label == "person" and not rest else 0)
            return self._answer(prompt)

    extract(Document(text="Ann in Rome"), SlowPerson(template, names_in), template)
    assert [mention for _, mention in order] == [False] * 4 + [True] * 2
    assert order[-2:] == [("location", True), ("person", True)]


def test_extractor_bounds_the_windows_in_flight():
    """A long document has no more prompts in flight than its windows allow, and is read whole."""
    template = tiny_template(tokens=40, overlap=8)
    oracle = Oracle(template, names_in)
    text = "Ann went to Rome . " * 200
    result = extract(Document(text=text, policy=Policy.MULTI), oracle, template, windows_in_flight=3)
    assert oracle.most_running <= 3 * 4
    assert result.coverage.unread == []
    assert spans(result) == sorted(
        (match.start(), match.end(), label)
        for label in ("person", "location")
        for match in re.finditer(NAMES[label][0], text)
    )


def test_extractor_passes_the_generators_errors_on():
    """An inference error comes out as itself, and nothing of the document stays in flight."""
    template = tiny_template(tokens=40, overlap=8)

    class Down(Oracle):
        def _answer(self, prompt):
            if len(self.prompts) > 9:
                raise InferenceUnavailable("down")
            return super()._answer(prompt)

    oracle = Down(template, names_in)
    with pytest.raises(InferenceUnavailable):
        extract(Document(text="Ann went to Rome . " * 50), oracle, template)
    assert oracle.running == 0


@pytest.mark.parametrize("stage", ["count", "mention"])
def test_extractor_errors_name_the_stage_of_their_prompt(stage):
    """An error of the model is that of a count prompt or of a mention prompt."""
    template = tiny_template()

    class Refusing(Oracle):
        def _answer(self, prompt):
            _, _, rest = self.read(prompt)
            if bool(rest) == (stage == "mention"):
                raise InferenceRejected("no")
            return super()._answer(prompt)

    with pytest.raises(InferenceRejected) as raised:
        extract(Document(text="Ann in Rome"), Refusing(template, names_in), template)
    assert raised.value.stage == stage


async def test_extractor_cancellation_reaches_the_generator():
    """A cancelled extraction cancels its prompts."""
    template = tiny_template()
    cancelled = []

    class Stuck(Oracle):
        async def generate(self, prompt):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(prompt)
                raise
            return self._answer(prompt)

    task = asyncio.create_task(Extractor(Stuck(template, names_in), template).extract(Document(text="Ann")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(cancelled) == 4


def test_extractor_blank_text_asks_nothing():
    """White space is read without a prompt, and coverage leaves nothing unread."""
    template = tiny_template()
    oracle = Oracle(template, names_in)
    result = extract(Document(text=" \n\t "), oracle, template)
    assert (oracle.prompts, result.entities, result.coverage.windows, result.coverage.unread) == (
        [],
        [],
        0,
        [],
    )


@settings(max_examples=50)
@given(annotated(), st.permutations(sorted(NAMES)), st.integers(1, 3))
def test_extractor_labels_do_not_disturb_each_other(text_and_gold, labels, kept):
    """Leaving labels out, or asking in another order, changes nothing of the others' entities."""
    text, _ = text_and_gold
    template = tiny_template(tokens=160, overlap=40)
    oracle = Oracle(template, names_in)
    everything = extract(Document(text=text, policy=Policy.MULTI), oracle, template)
    some = extract(Document(text=text, labels=labels[:kept], policy=Policy.MULTI), oracle, template)
    assert spans(some) == [span for span in spans(everything) if span[2] in labels[:kept]]


def test_extractor_tells_the_counts():
    """Counts by label are told under all names, without a label whose count could not be read."""
    template = tiny_template()

    class NoLocations(Oracle):
        def _answer(self, prompt):
            if self.read(prompt)[1] == "location":
                return Completion((), ())
            return super()._answer(prompt)

    document = Document(text="Ann and Ann in Rome", labels=["PER", "person", "location", "ORG"])
    result = extract(document, NoLocations(template, names_in), template)
    assert result.counts == {"PER": 2, "person": 2, "ORG": 0}


@given(
    st.integers(10, 60), st.lists(st.sampled_from(["so", "New York City", "and"]), min_size=20, max_size=60)
)
def test_extractor_entities_cut_by_windows_come_out_whole(tokens, words):
    """A model that names whatever part of an entity a window shows yields the whole entities and no parts."""
    template = tiny_template(tokens=max(tokens, 40), overlap=18)
    text = "so " + " ".join(words) + " so"

    def visible_parts(window, label):
        return re.findall(r"New York City|(?:New York|New)$|^(?:York City|City)", window)

    document = Document(text=text, labels=["location"], policy=Policy.MULTI)
    result = extract(document, Oracle(template, visible_parts), template)
    assert spans(result) == [
        (match.start(), match.end(), "location") for match in re.finditer("New York City", text)
    ]
    assert {one.reason for one in result.removed} <= {"overlap"}

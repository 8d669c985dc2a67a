"""Gold answers in every method's form."""

from stream.bench.cases import CaseMaker
from stream.corpora.document import AnnotatedDocument
from tests.ner.oracle import tiny_template

JAPAN = AnnotatedDocument(
    text="Japan told FIFA",
    entities=[
        {"start": 0, "end": 5, "text": "Japan", "label": "LOC"},
        {"start": 11, "end": 15, "text": "FIFA", "label": "ORG"},
    ],
)
NESTED = AnnotatedDocument(
    text="the Bank of Japan",
    entities=[
        {"start": 4, "end": 17, "text": "Bank of Japan", "label": "ORG"},
        {"start": 12, "end": 17, "text": "Japan", "label": "LOC"},
    ],
)


def test_gold_case_has_every_baselines_form_of_the_answer():
    """The baselines' prompts name the labels' phrases, and their answers are the whole right ones."""
    template = tiny_template()
    (case,) = CaseMaker(template, ["LOC", "ORG"]).cases([NESTED])
    forms = [case.struct, case.aug, *case.onestep]
    assert [template.show(each.answer) for each in forms] == [
        "((organization:Bank of Japan),(location:Japan))",
        "the [Bank of [Japan|location]|organization]",
        "Japan",
        "Bank of Japan",
    ]
    assert all(each.steps == len(each.answer) + 1 for each in forms)
    prompt = "text:\nthe Bank of Japan\nentity type:\nlocation,organization\n\n<num>"
    assert [template.show(each.prompt.ids) for each in forms[:2]] == [prompt, prompt]
    assert case.onestep[0].prompt.ids == case.labels[0].count.prompt.ids


def test_gold_case_asks_a_count_for_every_label_and_a_mention_for_every_entity():
    """PaDeLLM's prompts answer the gold counts, and their mentions in turn, absent labels with none."""
    template = tiny_template()
    (case,) = CaseMaker(template, ["LOC", "ORG", "PER"]).cases([JAPAN])
    counts = [template.parse_count(label.count.answer) for label in case.labels]
    mentions = [[template.decode_mention(each.answer) for each in label.mentions] for label in case.labels]
    assert counts == [1, 1, 0]
    assert mentions == [["Japan"], ["FIFA"], []]
    assert template.decode_mention(case.onestep[1].answer) == "FIFA"


def test_gold_case_leaves_out_labels_not_asked_for_and_texts_of_nothing():
    """Only the labels asked for are answered; without words or labels there is no case."""
    blank = AnnotatedDocument(text=" \n", entities=())
    (case,) = CaseMaker(tiny_template(), ["ORG"]).cases([blank, JAPAN])
    assert tiny_template().decode_mention(case.struct.answer) == "((organization:FIFA))"
    assert CaseMaker(tiny_template(), []).cases([JAPAN]) == []


def test_gold_case_counts_no_further_than_the_checkpoint():
    """More mentions than the checkpoint can count become as many as it can."""
    entities = [{"start": at, "end": at + 1, "text": "x", "label": "PER"} for at in range(0, 40, 2)]
    document = AnnotatedDocument(text="x " * 20, entities=entities)
    template = tiny_template()
    (case,) = CaseMaker(template, ["PER"]).cases([document])
    assert len(case.labels[0].mentions) == template.config.max_count

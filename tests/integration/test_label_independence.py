"""What a document's other labels do to the entities of one, through a real Triton that batches in flight."""

import asyncio
from collections.abc import Sequence
from itertools import islice

import pytest

from stream.bundled import model_folder, sample_documents
from stream.contract.messages import Document, Entity, Policy
from stream.contract.reasons import RemovalReason
from stream.inference.triton import TritonGenerator
from stream.kafka.records import read_records
from stream.local.reaper import Reaper
from stream.local.triton import why_unavailable
from stream.ner.extractor import Extraction, Extractor
from stream.ner.template import PromptTemplate
from tests.integration.triton_fixture import RunningTriton

pytestmark = [pytest.mark.integration, pytest.mark.skipif(why_unavailable() is not None, reason="no Triton")]

BASE = ["person", "location", "organization"]
REQUESTS = [
    BASE,
    BASE[::-1],
    *([label] for label in BASE),
    ["miscellaneous", *BASE, "date"],
    ["vehicle", "organization", "weather", "person", "disease", "location", "law"],
]
_DOCUMENTS = 24
_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Sample texts."""
    return [record.text for record in islice(read_records(str(sample_documents())), _DOCUMENTS)]


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> dict[Policy, list[list[Extraction]]]:
    """What all requests for each text got, by policy; each policy's requests were in flight together."""
    folder = model_folder(None)
    with Reaper() as reaper:
        server = RunningTriton(tmp_path_factory.mktemp("bundled-triton"), folder, reaper)
        try:
            server.start()
            return asyncio.run(_ask_all(server.url, PromptTemplate.load(folder), texts))
        finally:
            server.stop()


async def _ask_all(
    url: str, template: PromptTemplate, texts: list[str]
) -> dict[Policy, list[list[Extraction]]]:
    generator = TritonGenerator(url)
    extractor = Extractor(generator, template)

    async def ask(text: str, labels: list[str], policy: Policy) -> Extraction:
        return await extractor.extract(Document(text=text, labels=labels, policy=policy))

    try:
        return {
            policy: [
                list(answers)
                for answers in await asyncio.gather(
                    *(asyncio.gather(*(ask(text, labels, policy) for labels in REQUESTS)) for text in texts)
                )
            ]
            for policy in (Policy.MULTI, Policy.PAPER)
        }
    finally:
        await generator.close()


def _of(entities: Sequence[Entity], label: str) -> list[Entity]:
    return [entity for entity in entities if entity.label == label]


def _places(entities: Sequence[Entity]) -> list[tuple[str, int, int]]:
    return [(entity.text, entity.start, entity.end) for entity in entities]


def test_labels_find_the_same_whatever_else_is_asked_for(
    answers: dict[Policy, list[list[Extraction]]],
) -> None:
    """Labels added, left out or reordered change no entity of the others where none compete (multi)."""
    found = 0
    for first, *others in answers[Policy.MULTI]:
        for labels, other in zip(REQUESTS[1:], others, strict=True):
            for label in set(BASE) & set(labels):
                expected, got = _of(first.entities, label), _of(other.entities, label)
                assert _places(got) == _places(expected), labels
                for figure in ("score", "count_score"):
                    expected_scores = [getattr(entity, figure) for entity in expected]
                    assert [getattr(entity, figure) for entity in got] == pytest.approx(
                        expected_scores, abs=_TOLERANCE
                    )
                found += len(got)
    assert found > 10 * _DOCUMENTS, "so few entities prove nothing"


def test_labels_take_from_each_other_under_the_paper_policy_alone_what_they_report(
    answers: dict[Policy, list[list[Extraction]]],
) -> None:
    """A further label may take a text over (paper), which is reported; what it leaves is as it was."""
    taken = 0
    for everything, settled in zip(answers[Policy.MULTI], answers[Policy.PAPER], strict=True):
        for labels, multi, paper in zip(REQUESTS, everything, settled, strict=True):
            lost = [one for one in paper.removed if one.reason == RemovalReason.OTHER_LABEL]
            taken += len(lost)
            for label in labels:
                places = {
                    *_places(_of(paper.entities, label)),
                    *_places([one for one in lost if one.label == label]),
                }
                assert places == set(_places(_of(multi.entities, label)))
            for one in lost:
                winners = [entity for entity in paper.entities if entity.text == one.text]
                assert all(winner.label != one.label for winner in winners)
                assert max(winner.score for winner in winners) >= one.score
    assert taken, "no text was found under two labels: nothing was settled"

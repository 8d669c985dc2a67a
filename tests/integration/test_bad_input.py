"""Every record on the topic ends as an event or a dead letter that says why; the next document is served."""

import json

import pytest

from stream.contract.reasons import Reason, Stage
from tests.integration.fuzz import fuzz
from tests.integration.worker_fixture import Bench
from tests.worker.bad_inputs import BAD, EVENT, STRANGE, InputCase

pytestmark = pytest.mark.integration
CASES = [
    *BAD,
    *STRANGE,
    InputCase("a document the model refuses", b'{"text": "Ada REJECT"}', Reason.INFERENCE_REJECTED),
    InputCase("a document the model is too slow for", b'{"text": "Ada TIMEOUT"}', Reason.INFERENCE_TIMEOUT),
    InputCase("a document that meets a fault", b'{"text": "Ada FAULT"}', Reason.INTERNAL_ERROR),
]


async def test_bad_input_each_kind_has_its_outcome_and_the_next_document_is_served(bench: Bench):
    """Each kind ends as expected, its bytes kept beside a reason to read; the worker goes on."""
    worker = bench.start_worker()
    await worker.is_ready()
    sent = {}
    async with bench.producer() as producer:
        for case in [*CASES, InputCase("the next good document", b'{"text": "Ada wrote"}', EVENT)]:
            at = await producer.send_and_wait(
                bench.settings.documents_topic,
                case.value,
                key=case.key,
                headers=list(case.headers),
                partition=0,
            )
            sent[at.offset] = case
    records = await bench.outcomes(lambda records: len(records) >= len(sent))
    assert len(records) == len(sent)
    outcomes = [_outcome(record, bench) for record in records]
    wrong = {sent[at].name: (got, sent[at].outcome) for at, got, _ in outcomes if got != sent[at].outcome}
    assert wrong == {}
    assert sorted(at for at, _, _ in outcomes) == sorted(sent)
    for at, got, record in outcomes:
        if got != EVENT:
            _check_dead_letter(record, sent[at])
    await bench.until_committed({0: max(sent) + 1})
    assert worker.process.poll() is None
    assert (await worker.page("/livez"))[0] == 200


async def test_bad_input_of_any_bytes_and_any_json_has_an_outcome(bench: Bench):
    """Random records, each with one outcome, meet no fault of the service; the worker goes on."""
    figures = await fuzz(bench, 400, seed=7)
    assert (figures.missing, figures.repeats, figures.exit_status) == (set(), 0, None)
    assert figures.outcomes["internal_error"] == 0
    assert figures.outcomes.total() == 400


def _outcome(record, bench: Bench):
    """Offset of the document, its outcome, and the record of it."""
    if record.topic == bench.settings.entities_topic:
        event = json.loads(record.value)
        return event["source"]["offset"], EVENT, record
    headers = dict(record.headers)
    return int(headers["__dlq.errors.offset"]), headers["padellm.reason"].decode(), record


def _check_dead_letter(record, case: InputCase) -> None:
    """The original is there to the last byte, and the headers say where it came from and why it is here."""
    headers = dict(record.headers)
    assert record.key == case.key, case.name
    assert record.value == case.value, case.name
    kept = {name: value for name, value in case.headers if not name.startswith("__dlq.")}
    assert kept.items() <= headers.items(), case.name
    assert len(headers["__dlq.errors.message"].decode()) > 20, case.name
    assert headers["__dlq.errors.partition"] == b"0"
    assert headers["__dlq.errors.topic"] != b"x"
    # The scripted model refuses the first prompts of a document, which ask for counts.
    refused = case.outcome == Reason.INFERENCE_REJECTED
    stage = Stage.COUNT if refused else Reason(case.outcome).stage
    assert headers["padellm.stage"] == stage.encode(), case.name
    names = [name for name, _ in record.headers]
    assert names.count("__dlq.errors.topic") == 1

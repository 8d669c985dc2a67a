"""Each kind of bad input through the real codec and handler, over a scripted model."""

import time

import pytest

from stream.contract.reasons import Reason, Stage
from stream.contract.record import Record
from stream.settings import Settings
from tests.worker.bad_inputs import BAD, EVENT, STRANGE, InputCase

_LARGEST = 100_000_000
# Reasons of records that are no documents of ours; test_record_formats.py has them.
OF_OTHER_FORMATS = {
    Reason.NOT_A_CLOUD_EVENT,
    Reason.NOT_A_CHANGE_EVENT,
    Reason.CONTENT_TYPE_UNKNOWN,
    Reason.TEXT_NOT_FOUND,
    Reason.TEXT_NOT_A_STRING,
    Reason.TEXT_UNAVAILABLE,
    Reason.ID_NOT_FOUND,
    Reason.SCHEMA_ID_MISSING,
    Reason.SCHEMA_UNKNOWN,
    Reason.SCHEMA_UNSUPPORTED,
    Reason.NOT_AVRO,
}


def test_bad_inputs_are_many_and_differ():
    """There are 200 kinds and more, no two with one name or one record, for every reason of the codec."""
    assert len(BAD) >= 200
    assert len({case.name for case in BAD + STRANGE}) == len(BAD + STRANGE)
    assert len({(case.value, case.key, case.headers) for case in BAD + STRANGE}) == len(BAD + STRANGE)
    of_input = {reason for reason in Reason if reason.stage in {Stage.DECODE, Stage.VALIDATE, Stage.SIZE}}
    assert of_input - {case.outcome for case in BAD} == OF_OTHER_FORMATS


@pytest.mark.parametrize("case", BAD + STRANGE, ids=lambda case: case.name)
async def test_bad_inputs_have_their_outcome(case: InputCase, make_handler, publisher):
    """Each becomes the dead letter of its reason, the original beside it, and each strange one an event."""
    publisher.largest = _LARGEST
    record = Record("docs", 0, 7, key=case.key, value=case.value, headers=case.headers)
    await make_handler().handle(record, time.monotonic())
    (sent,) = publisher.sent
    if case.outcome == EVENT:
        assert sent.topic == Settings().entities_topic
        return
    assert sent.topic == Settings().dead_letters_topic
    headers = dict(sent.headers)
    assert headers["padellm.reason"].decode() == case.outcome
    assert headers["padellm.stage"].decode() == Reason(case.outcome).stage
    assert (sent.key, sent.value) == (case.key, case.value)
    assert len(headers["__dlq.errors.message"]) > 20

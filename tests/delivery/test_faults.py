"""Workers under faults keep their promise, and a planted bug is found. On a real broker."""

import pytest

from stream.settings import Delivery
from tests.delivery.driver import run_under
from tests.delivery.planted import PLANTED

pytestmark = pytest.mark.integration
_DOCUMENTS = 150


@pytest.mark.parametrize("delivery", Delivery)
async def test_faults_leave_each_document_its_outcome(private_kafka, tiny_model, tmp_path, delivery):
    """With a worker and the broker killed no document is lost, stuck or misreported, and no commit is early.

    Exactly once, none is repeated, torn or out of the order of its key either.
    """
    folder = tmp_path / "run"
    folder.mkdir()
    verdict = await run_under(
        "mixed",
        1,
        private_kafka,
        tiny_model,
        folder,
        count=_DOCUMENTS,
        delivery=delivery,
        ordered=delivery is Delivery.EXACTLY_ONCE,
    )
    assert verdict.found == {}
    assert verdict.actions
    assert all(verdict.counts[kind] for kind in ("poll", "handler_end", "commit", "report", "log_end"))
    assert verdict.counts["document"] == _DOCUMENTS
    assert verdict.counts["event"] + verdict.counts["dead_letter"] >= _DOCUMENTS


async def test_faults_find_automatic_commits(kafka, tiny_model, tmp_path):
    """A worker that commits what it has fetched is found even when nothing dies."""
    planted = PLANTED[0]
    verdict = await run_under(
        planted.fault, planted.seed, kafka, tiny_model, tmp_path, count=_DOCUMENTS, bug=planted.bug
    )
    assert planted.anomaly in verdict.found

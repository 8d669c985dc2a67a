"""Requests of transactions that the network holds into the next one. On a real broker, behind a proxy."""

from pathlib import Path

import pytest

from tests.delivery.late_requests import hold_requests
from tests.integration.kafka_fixture import RunningKafka

pytestmark = pytest.mark.integration


async def test_late_requests_tear_nothing_and_put_nothing_back(
    kafka: RunningKafka, tiny_model: Path, tmp_path: Path
):
    """Ends and offsets that arrive in a later transaction are refused, and each document has one outcome."""
    verdict = await hold_requests(kafka, tiny_model, tmp_path, seed=1, ways=["lost", "doubled"] * 5)
    assert verdict.arrivals.total() == 10
    assert {arrival.held for arrival in verdict.arrivals} == {"END", "COMMIT_OFFSETS"}
    assert (verdict.taken, verdict.torn, verdict.back) == (0, 0, 0)
    assert verdict.kept


async def test_late_requests_find_a_producer_that_goes_on_without_an_answer(
    kafka: RunningKafka, tiny_model: Path, tmp_path: Path
):
    """A producer that does not fence after a broken connection is found: the proof can fail."""
    verdict = await hold_requests(
        kafka, tiny_model, tmp_path, seed=1, ways=["lost"] * 6, bug="go_on_without_an_answer"
    )
    assert verdict.taken
    assert not verdict.kept

"""Requests of transactions that the network holds into the next one. On a real broker, behind a proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.late_requests import hold_requests, proxied
from tests.integration.kafka_fixture import RunningKafka, serve

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def proxied_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A broker that sends its clients through a proxy."""
    yield from serve(tmp_path_factory.mktemp("kafka"), proxied())


async def test_late_requests_tear_nothing_and_put_nothing_back(
    proxied_kafka: RunningKafka, tiny_model: Path, tmp_path: Path
):
    """Ends and offsets that arrive in a later transaction are refused, and each document has one outcome."""
    verdict = await hold_requests(proxied_kafka, tiny_model, tmp_path, seed=1, ways=["lost", "doubled"] * 5)
    assert verdict.arrivals.total() == 10
    assert {arrival.held for arrival in verdict.arrivals} == {"END", "COMMIT_OFFSETS"}
    assert (verdict.taken, verdict.torn, verdict.back) == (0, 0, 0)
    assert verdict.kept


async def test_late_requests_find_a_producer_that_goes_on_without_an_answer(
    proxied_kafka: RunningKafka, tiny_model: Path, tmp_path: Path
):
    """A producer that does not fence after a broken connection is found: the proof can fail."""
    verdict = await hold_requests(
        proxied_kafka, tiny_model, tmp_path, seed=1, ways=["lost"] * 6, bug="go_on_without_an_answer"
    )
    assert verdict.taken
    assert not verdict.kept

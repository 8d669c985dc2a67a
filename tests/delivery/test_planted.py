"""Planted bugs still fit the worker that they are planted in."""

import inspect
from typing import Any

import pytest

from stream.worker import consumer
from stream.worker.dead_letters import DeadLetters
from stream.worker.handler import Handler
from stream.worker.metrics import WorkerMetrics
from stream.worker.transactional_producer import TransactionalProducer
from tests.delivery.recording_worker import BUGS
from tests.integration.scripted_worker import ScriptedGenerator

_CHANGED = (
    DeadLetters,
    Handler,
    ScriptedGenerator,
    TransactionalProducer,
    WorkerMetrics,
    consumer.OrderedConsumer,
    consumer._ConsumerThread,
)


def _methods() -> dict[tuple[type, str], Any]:
    return {(owner, name): value for owner in _CHANGED for name, value in vars(owner).items()}


@pytest.mark.parametrize("bug", sorted(set(BUGS) - {"commit_as_faust_does"}))
def test_planted_methods_can_be_called_as_those_they_replace(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug changes what is there, and takes the same arguments: else it is another bug than it says."""
    before = _methods()
    monkeypatch.setattr(consumer, "AIOKafkaConsumer", consumer.AIOKafkaConsumer)  # put back behind the test
    try:
        BUGS[bug]()
        changed = {place: value for place, value in _methods().items() if value is not before.get(place)}
    finally:
        for (owner, name), value in before.items():
            if vars(owner)[name] is not value:
                setattr(owner, name, value)
    assert changed
    for place, method in changed.items():
        parameters = inspect.signature(before[place]).parameters.values()
        given = [None for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        named = {each.name: None for each in parameters if each.kind is each.KEYWORD_ONLY}
        inspect.signature(method).bind(*given, **named)

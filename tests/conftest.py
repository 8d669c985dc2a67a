"""Fixtures of the real parts, for every test that asks for them."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import structlog
from hypothesis import settings

_FIXTURES = (
    "tests.integration.kafka_fixture",
    "tests.integration.triton_fixture",
    "tests.integration.worker_fixture",
    "tests.integration.secured_kafka",
    "tests.integration.registry_fixture",
    "tests.triton_models.stub",
)

pytest_plugins = [name for name in _FIXTURES if find_spec(name)]

# A busy machine is slow now and then; that is no failure of a property.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
# For one more Python: what it breaks, it breaks for most examples.
settings.register_profile("few", max_examples=10)


@pytest.fixture(autouse=True)
def usual_logs() -> Iterator[None]:
    """Keep a test from leaving its way of logging to the next: commands that run in this process set it."""
    yield
    structlog.reset_defaults()

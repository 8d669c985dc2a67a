"""Fixtures of the real parts, for every test that asks for them."""

from importlib.util import find_spec

_FIXTURES = ("tests.integration.kafka_fixture", "tests.integration.triton_fixture")

pytest_plugins = [name for name in _FIXTURES if find_spec(name)]

"""Labels on the command line."""

import pytest

from stream.cli.labels import parse_labels, parse_names
from stream.errors import ConfigurationError


def test_labels_by_name_or_definition():
    """Labels are names with commas, a JSON list, or an object with definitions."""
    assert parse_labels("PER, LOC") == ["PER", "LOC"]
    assert parse_labels('["a, b"]') == ["a, b"]
    assert parse_labels('{"PER": "a human"}') == {"PER": "a human"}
    assert parse_labels(None) is None


@pytest.mark.parametrize("option", ["", "PER,,LOC", "[]", "[7]", '["PER"', '{"PER": 7}'])
def test_labels_that_name_none_are_refused(option):
    """An empty name, an empty list and broken JSON are refused."""
    with pytest.raises(ConfigurationError, match="--labels"):
        parse_names(option)


def test_labels_of_data_have_no_definitions():
    """Where labels only choose, an object with definitions is refused."""
    assert parse_names('["person, real", "LOC"]') == ["person, real", "LOC"]
    assert parse_names(None) is None
    with pytest.raises(ConfigurationError, match="only names"):
        parse_names('{"PER": "a human"}')

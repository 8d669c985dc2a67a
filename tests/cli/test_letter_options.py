"""Options that choose dead letters."""

from datetime import UTC, datetime, timedelta

import pytest

from stream.cli.letter_options import parse_positions, parse_time
from stream.errors import ConfigurationError

NOW = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("option", "time"),
    [
        (None, None),
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-11-29", NOW - timedelta(hours=14)),
        ("2026-11-29T13:00", NOW - timedelta(hours=1)),
        ("2026-11-29T15:00+02:00", NOW - timedelta(hours=1)),
    ],
)
def test_options_times_are_dates_or_spans_before_now(option, time):
    """A time is ISO 8601, in UTC where it names no offset, or a span before now."""
    assert parse_time(option, "--since", now=NOW) == time


@pytest.mark.parametrize("option", ["", "yesterday", "2x", "999999d", "2026-13-01"])
def test_options_times_of_no_kind_are_refused(option):
    """A time that cannot be read is an error that names the option and shows one that can."""
    with pytest.raises(ConfigurationError, match=r"--since .*: expected a time such as 2026"):
        parse_time(option, "--since", now=NOW)


def test_options_positions_are_partition_and_offset():
    """A position is two whole numbers with a slash between."""
    assert parse_positions(["2/41", "0/0"]) == {(2, 41), (0, 0)}
    for wrong in ("2", "documents/2/41", "-1/0", "1/x"):
        with pytest.raises(ConfigurationError, match=f"--at {wrong}: expected PARTITION/OFFSET"):
            parse_positions([wrong])

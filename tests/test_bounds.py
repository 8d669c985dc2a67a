"""The bounds that other tests put on time and memory."""

import time

import pytest

from tests.bounds import bounded, fastest


def test_bounds_measure_time_and_memory():
    """What a piece of work takes is there afterwards, and not what was there before."""
    there = b"x" * (50 << 20)
    with bounded(seconds=5) as usage:
        taken = [there[:-1]]
        del taken
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert 45 < usage.megabytes < 60
    assert 0.05 <= usage.seconds < 1


def test_bounds_refuse_too_much_memory():
    """Memory beyond the bound fails a test, also when it is free again."""
    with pytest.raises(AssertionError, match=r"took .* MB"), bounded(seconds=5, megabytes=20):
        bytearray(b"x") * (50 << 20)


def _work_without_end() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:  # noqa: BLE001 - as a handler of documents would
            continue


def test_bounds_end_work_without_end():
    """Work that would go on for hours is broken off, even where it catches every error."""
    with pytest.raises(pytest.fail.Exception, match="still busy"), bounded(seconds=0.02):
        _work_without_end()


def test_bounds_take_the_fastest_try():
    """A try that another program slowed down does not count."""
    pauses = iter([0.2, 0.0, 0.2])

    def work():
        end = time.process_time() + next(pauses)
        while time.process_time() < end:
            pass

    assert fastest(work, tries=3) < 0.1

"""Signals while a model is trained."""

import signal

import pytest

from stream.training.stop_signal import StopSignal


@pytest.fixture(autouse=True)
def _handler_of_before():
    """The handler of Ctrl-C that the tests were started with, set again."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_stop_signal_leaves_an_ignored_signal_ignored():
    """A run that was started to ignore Ctrl-C, as in a shell's background, goes on and ignores it still."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number is None
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_stop_signal_notes_the_first_and_gives_the_second_back():
    """The first signal is kept for the end of the step; another one has its own effect again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

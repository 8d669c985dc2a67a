"""The progress bar of a run."""

import pytest

pytestmark = pytest.mark.train


@pytest.mark.parametrize(("terminal", "shown"), [("1", True), ("0", False)])
def test_metrics_progress_is_shown_on_a_terminal_alone(monkeypatch, capsys, terminal, shown):
    """Steps and the last score are on stderr of a terminal; files and pipes stay free of it."""
    from stream.training.metrics import Progress

    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    with Progress(10, shown=True) as progress:
        progress.advance(3)
        progress.score(87.5)
    printed = capsys.readouterr()
    assert not printed.out
    assert ("3/10" in printed.err) == shown
    assert ("dev F1 87.5" in printed.err) == shown


def test_metrics_progress_of_another_process_is_not_shown(monkeypatch, capsys):
    """Of several processes one has the terminal."""
    from stream.training.metrics import Progress

    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Progress(10, shown=False) as progress:
        progress.advance(3)
    assert not capsys.readouterr().err

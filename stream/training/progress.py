"""A progress bar on stderr, where that is a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Steps done of all, time left, and the last score.

    Args:
        steps: Of the run.
        shown: False for a process that leaves the terminal to another.
    """

    def __init__(self, steps: int, *, shown: bool) -> None:
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[score]}"),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("", total=steps, score="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Show that so many steps are done."""
        self._bar.update(self._task, completed=step)

    def score(self, f1: float) -> None:
        """Show the F1 of the latest export."""
        self._bar.update(self._task, score=f"dev F1 {f1:.1f}")

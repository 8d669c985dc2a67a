"""SIGTERM and Ctrl-C while a model is trained: the step is finished and saved before the process ends."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopSignal:
    """Holds the first SIGTERM or Ctrl-C back, as a context manager; a second one ends the process at once.

    Attributes:
        number: The signal that came; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers, and a signal ends the process where none is set.
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                # A shell lets what it starts in the background ignore Ctrl-C.
                if signal.getsignal(each) is not signal.SIG_IGN:
                    self._before[each] = signal.signal(each, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def obey(self) -> None:
        """End as the signal would have ended the process."""
        if self.number is not None:
            signal.raise_signal(self.number)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

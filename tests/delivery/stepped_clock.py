"""A clock of one process that a fault run steps, in place of the machine's, which all share."""

import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer


class SteppedClock:
    """Time of day, by so many seconds off as a file says.

    Elapsed time (``time.monotonic``) goes on evenly, as it does on a machine whose clock is set.

    Args:
        file: Holds the seconds; without it the clock is right.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def time(self) -> float:
        """Seconds since the epoch, as ``time.time``."""
        offset = float(self._file.read_text() or 0) if self._file.exists() else 0.0
        return time.clock_gettime(time.CLOCK_REALTIME) + offset

    def take_over(self) -> None:
        """Be the clock of this process: of Python, and of aiokafka's compiled batches, which ask for none."""
        send = AIOKafkaProducer.send

        async def stamped(producer: Any, *args: Any, **options: Any) -> Any:
            options.setdefault("timestamp_ms", int(self.time() * 1000))
            return await send(producer, *args, **options)

        time.time = self.time
        AIOKafkaProducer.send = stamped

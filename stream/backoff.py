"""Pauses between tries."""

import random
from collections.abc import Iterator


def pauses(*, first: float, longest: float) -> Iterator[float]:
    """Seconds to wait before each next try, without end: doubling up to ``longest``, half of each at random.

    The spread keeps many documents that failed together from coming back together.
    """
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        pause = min(pause * 2, longest)

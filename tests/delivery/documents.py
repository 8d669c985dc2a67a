"""Documents that a fault run sends: most are sound, a few make the model fail, and a few are no documents."""

import json
import random
from pathlib import Path
from typing import NamedTuple

from tests.delivery.history import content

_ORDERS = ("REJECT", "FAULT", "TIMEOUT")
_SHARED_KEYS = 40


class SentDocument(NamedTuple):
    """A document as its producer sends it.

    Attributes:
        name: Its name in the history.
    """

    name: str
    key: bytes
    value: bytes

    @property
    def content(self) -> str:
        """What its event repeats."""
        return content(self.value)

    @property
    def characters(self) -> int:
        """Length of its text; 0 where there is none."""
        try:
            return len(json.loads(self.value)["text"])
        except ValueError:
            return 0


def documents(
    chance: random.Random, count: int, away: Path, *, pace: float, ordered: bool
) -> list[SentDocument]:
    """Documents of a run.

    Args:
        chance: Decides lengths and faults.
        count: Number of documents.
        away: The model is unavailable while this file exists.
        pace: Documents a second; about six of them are in flight then, or one of two if ``ordered``.
        ordered: Whether many documents share a key, in whose order their outcomes are to come.
    """
    made = []
    for number in range(count):
        name = f"doc-{number}"
        key = f"key-{number % _SHARED_KEYS}" if ordered else name
        # Slow ones are in flight over several commits, so that what dies has them in its hands.
        slow = chance.random() < 0.15
        seconds = (chance.uniform(20, 40) if slow else chance.uniform(0, 4)) / pace
        orders = [f"SLEEP {seconds * (0.1 if ordered else 1):.3f}", f"AWAY-WHILE {away}"]
        if chance.random() < 0.02:
            orders.append(chance.choice(_ORDERS))
        value = json.dumps({"id": key, "text": " ".join([f"Ada{number}", *orders])}).encode()
        if chance.random() < 0.02:
            value = value[:-1]
        made.append(SentDocument(name, key.encode(), value))
    return made

"""What was used last, bounded."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A table of the keys used last.

    Args:
        make: Makes the value of a key that is not there.
        most: Keys kept; the one used longest ago goes first.
    """

    def __init__(self, make: Callable[[Key], Value], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def known(self, key: Key) -> Value | None:
        """A key's value, if it is there."""
        return self._values.get(key)

    def of(self, key: Key) -> Value:
        """A key's value, made where it is missing."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value

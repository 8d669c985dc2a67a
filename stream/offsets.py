"""Units that offsets in a text may count, and the way from code points to each and back."""

import re
from bisect import bisect_left
from enum import StrEnum


class OffsetUnit(StrEnum):
    """Units that offsets may count; Java, JavaScript and C# count UTF-16, Go and Rust bytes of UTF-8."""

    CODE_POINTS = "code-points"
    UTF_16 = "utf-16"
    UTF_8 = "utf-8"

    @property
    def noun(self) -> str:
        """The unit's name in a sentence."""
        return {"code-points": "code points", "utf-16": "UTF-16 units", "utf-8": "UTF-8 bytes"}[self.value]


# Characters that take one unit more than those before them.
_WIDER = {
    OffsetUnit.CODE_POINTS: (),
    OffsetUnit.UTF_16: (re.compile("[\U00010000-\U0010ffff]"),),
    OffsetUnit.UTF_8: (
        re.compile("[^\x00-\x7f]"),
        re.compile("[^\x00-\u07ff]"),
        re.compile("[\U00010000-\U0010ffff]"),
    ),
}


class OffsetScale:
    """Offsets of one text in some unit.

    Args:
        text: The text.
        unit: The unit to count in.

    Attributes:
        differs: Whether the unit counts this text otherwise than code points do.
    """

    def __init__(self, text: str, unit: OffsetUnit) -> None:
        classes = () if text.isascii() else _WIDER[unit]
        self._wider = [places for each in classes if (places := [one.start() for one in each.finditer(text)])]
        self._text, self._unit = text, unit
        self.differs = bool(self._wider)

    def of(self, offset: int) -> int:
        """An offset in code points, counted in the unit."""
        return offset + sum(bisect_left(places, offset) for places in self._wider)

    def code_points(self, offset: int) -> int:
        """An offset in the unit, counted in code points.

        Raises:
            ValueError: It is no place between two characters of the text.
        """
        at = bisect_left(range(len(self._text) + 1), offset, key=self.of) if self.differs else offset
        if not 0 <= at <= len(self._text) or self.of(at) != offset:
            raise ValueError(f"{offset} is no place between characters, counted in {self._unit.noun}")
        return at

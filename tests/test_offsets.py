"""Offsets in code points, UTF-16 units and bytes of UTF-8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.offsets import OffsetScale, OffsetUnit

ENCODINGS = {
    OffsetUnit.CODE_POINTS: ("utf-32-le", 4),
    OffsetUnit.UTF_16: ("utf-16-le", 2),
    OffsetUnit.UTF_8: ("utf-8", 1),
}
# ASCII, combining characters, letters of two and three bytes, emoji with joiners and skin tones.
texts = st.text(st.sampled_from("aé\u0301\u07ff\u0800中\uffff😀👩\u200d🚀🏽\U0010ffff\x00\n"), max_size=40)


def slow(text: str, offset: int, unit: OffsetUnit) -> int:
    """The units of the text before an offset, counted by encoding it."""
    encoding, width = ENCODINGS[unit]
    return len(text[:offset].encode(encoding)) // width


@pytest.mark.parametrize("unit", OffsetUnit)
@given(text=texts)
def test_offsets_equal_those_of_the_encoded_text(unit, text):
    """Every offset is the length of the encoded text before it, and comes back as the same code point."""
    scale = OffsetScale(text, unit)
    for offset in range(len(text) + 1):
        assert scale.of(offset) == slow(text, offset, unit)
        assert scale.code_points(scale.of(offset)) == offset
    assert scale.differs == (slow(text, len(text), unit) != len(text))


@pytest.mark.parametrize("unit", OffsetUnit)
@given(text=texts, data=st.data())
def test_offsets_refuse_places_within_a_character(unit, text, data):
    """An offset that parts a character, or lies beyond the text, is refused and not rounded."""
    places = {slow(text, offset, unit) for offset in range(len(text) + 1)}
    offset = data.draw(st.integers(-2, max(places) + 2).filter(lambda each: each not in places))
    with pytest.raises(ValueError, match="is no place"):
        OffsetScale(text, unit).code_points(offset)

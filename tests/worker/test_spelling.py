"""Parts of JSON as they are spelled."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from stream.contract.pointers import PointerFindsNothing, pointer_of, resolve
from stream.worker.spelling import spelled, spelled_without
from stream.worker.strict_json import parse

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


def places(value, way=()):
    """The pointer of every place in a value."""
    yield pointer_of(way)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from places(part, (*way, str(name)))


def drop(value, pointer):
    """Take what is at a place out of a value."""
    parent, _, last = pointer.rpartition("/")
    last = last.replace("~1", "/").replace("~0", "~")
    try:
        inner = resolve(value, parent)
    except PointerFindsNothing:  # within what was taken out before
        return
    if isinstance(inner, list):
        inner[int(last)] = None
    elif isinstance(inner, dict):
        inner.pop(last, None)


@given(value=st.dictionaries(names, values, max_size=4), spaced=st.booleans(), data=st.data())
def test_spelling_holds_the_values_of_pointers(value, spaced, data):
    """The object of some places has each pointer's value, and no member for a place that has none."""
    raw = json.dumps(value, indent=1 if spaced else None).encode()
    chosen = data.draw(st.lists(st.sampled_from([*places(value), "/none/9"]), unique=True, max_size=4))
    expected = {}
    for pointer in chosen:
        try:
            expected[pointer] = resolve(value, pointer)
        except PointerFindsNothing:
            continue
    assert json.loads(spelled(raw, chosen)) == expected


@given(value=st.dictionaries(names, values, max_size=4), spaced=st.booleans(), data=st.data())
def test_spelling_leaves_out_the_values_of_pointers(value, spaced, data):
    """The rest of a value is the value without these places; in a list null stands for one."""
    raw = json.dumps(value, indent=1 if spaced else None).encode()
    below = [pointer for pointer in places(value) if pointer]
    chosen = data.draw(st.lists(st.sampled_from(below), unique=True, max_size=4)) if below else []
    rest = copy.deepcopy(value)
    for pointer in sorted(chosen, key=len):
        drop(rest, pointer)
    assert json.loads(spelled_without(raw, chosen)) == rest


def test_spelling_keeps_every_digit():
    """Numbers and escapes stay as they were written, and white space within strings stays too."""
    raw = rb'{"a": {"n": 1E2, "big": 123456789012345678901234567890, "s": "x \u00e9 y"}, "t": "text"}'
    parse(raw, foreign=True)
    kept = rb'{"a":{"n":1E2,"big":123456789012345678901234567890,"s":"x \u00e9 y"}}'
    assert spelled_without(raw, ["/t"]) == kept
    assert spelled(raw, ["/a/big", "/a/n"]) == b'{"/a/big":123456789012345678901234567890,"/a/n":1E2}'

"""JSON Pointers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stream.contract.pointers import Pointer, PointerFindsNothing, pointer_of, reference_tokens, resolve

# RFC 6901, section 5.
DOCUMENT = json.loads(
    r"""{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6,
         " ": 7, "m~n": 8}"""
)
EXAMPLES = {
    "": DOCUMENT,
    "/foo": ["bar", "baz"],
    "/foo/0": "bar",
    "/": 0,
    "/a~1b": 1,
    "/c%d": 2,
    "/e^f": 3,
    "/g|h": 4,
    "/i\\j": 5,
    '/k"l': 6,
    "/ ": 7,
    "/m~0n": 8,
}


@pytest.mark.parametrize("pointer", EXAMPLES)
def test_pointers_find_what_the_rfc_says(pointer):
    """Every example of RFC 6901 is found."""
    assert resolve(DOCUMENT, TypeAdapter(Pointer).validate_python(pointer)) == EXAMPLES[pointer]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_pointers_any_names_are_spelled_and_found(names):
    """A pointer made of any names is valid, has these names, and finds the value behind them."""
    pointer = TypeAdapter(Pointer).validate_python(pointer_of(tuple(names)))
    value = "found"
    for name in reversed(names):
        value = {name: value}
    assert reference_tokens(pointer) == tuple(names)
    assert resolve(value, pointer) == "found"


@pytest.mark.parametrize("pointer", ["after/title", "title", "/a~2", "/a~", "#/a"])
def test_pointers_refuse_what_is_no_pointer(pointer):
    """What is no pointer is refused, with an example of one."""
    with pytest.raises(ValidationError, match="/after/title"):
        TypeAdapter(Pointer).validate_python(pointer)


@pytest.mark.parametrize(
    ("pointer", "complaint"),
    [
        ("/after/body", "/after/body finds nothing: /after has the names 'title'"),
        ("/before/title", "/before is null"),
        ("/tags/2", "/tags is a list of 2"),
        ("/tags/01", "/tags is a list of 2"),
        ("/tags/-", "/tags is a list of 2"),
        ("/none", "the whole value has the names 'before', 'after', 'tags'"),
        ("/after/title/0", "/after/title is a string"),
    ],
)
def test_pointers_say_where_the_way_ends(pointer, complaint):
    """The message of a pointer that finds nothing names the last place on its way, and what is there."""
    value = {"before": None, "after": {"title": "x"}, "tags": ["a", "b"]}
    with pytest.raises(PointerFindsNothing) as error:
        resolve(value, pointer)
    assert complaint in str(error.value)

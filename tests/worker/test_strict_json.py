"""The strict reader of JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.reasons import Reason
from stream.errors import BadDocument
from stream.worker.strict_json import MAX_DEPTH, parse

_CLEAN_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_VALUES = st.recursive(
    st.none() | st.booleans() | _INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | _CLEAN_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_CLEAN_TEXT, inner),
    max_leaves=20,
)


@given(_VALUES, st.booleans())
def test_strict_json_reads_what_json_writes(value, ascii_only):
    """Every value that JSON can hold comes back, escaped or not."""
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_strict_json_never_fails_otherwise(raw):
    """Whatever the bytes are: a value, or a bad document with a known reason."""
    try:
        parse(raw)
    except BadDocument as bad:
        assert Reason(bad.reason).stage == "decode"  # noqa: PT017 - one of two outcomes


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 500, 200_000])
def test_strict_json_bounds_depth(depth):
    """Nesting is read up to the limit and refused beyond, however deep."""
    raw = b"[" * depth + b"]" * depth
    if depth <= MAX_DEPTH:
        parse(raw)
        return
    with pytest.raises(BadDocument) as caught:
        parse(raw)
    assert caught.value.reason == Reason.TOO_DEEP


@given(
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=1),
    _CLEAN_TEXT,
    st.sampled_from(["key", "value"]),
)
def test_strict_json_finds_lone_surrogates(surrogate, around, where):
    """A lone surrogate is refused wherever it is, as a name or as a value."""
    text = f"{around}{surrogate}x"
    value = {"a": [{text: 1}]} if where == "key" else {"a": [text]}
    with pytest.raises(BadDocument) as caught:
        parse(json.dumps(value).encode())
    assert caught.value.reason == Reason.LONE_SURROGATE

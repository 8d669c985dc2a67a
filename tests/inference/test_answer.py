"""Answers of the model against the contract."""

from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from stream.errors import InferenceBreach
from stream.generation import Completion
from stream.inference.answer import read_answer
from tests.inference.scripted_triton import response_of

_GOOD = Completion((7, 8, 9), (-0.25, -0.5, 0.0))
_PLACES = {"output_ids": 0, "sequence_length": 1, "output_log_probs": 2}

_IDS = st.lists(st.integers(0, 2**31 - 1), max_size=20)


@given(ids=_IDS, padding=st.integers(0, 3), data=st.data())
def test_answer_is_what_was_sent(ids: list[int], padding: int, data: st.DataObject) -> None:
    """Ids and log-probabilities survive the wire, and padding behind them does not count."""
    log_probs = data.draw(
        st.lists(st.floats(-50, 0, width=32), min_size=len(ids), max_size=len(ids)), label="log_probs"
    )
    completion = Completion(tuple(ids), tuple(log_probs))
    response = response_of(completion)
    response.raw_output_contents[0] += array("i", (-1,) * padding).tobytes()
    assert read_answer(response, request_id="1", most=20) == completion


def _with(name: str, kind: str, *numbers: float) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.raw_output_contents[_PLACES[name]] = array(kind, numbers).tobytes()

    return change


def _without(response: Any) -> None:
    del response.outputs[2]
    del response.raw_output_contents[2]


def _without_contents(response: Any) -> None:
    del response.raw_output_contents[:]


def _cut(response: Any) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-1]


def _for_another(response: Any) -> None:
    response.id = "2"


def _half(response: Any) -> None:
    response.outputs[2].datatype = "FP16"


def _beams(response: Any) -> None:
    response.outputs[0].shape[:] = [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with("output_log_probs", "f", -0.5), r"output_log_probs has 1 entries for 3 tokens"),
        (_with("output_log_probs", "f", -0.5, float("nan"), -0.5), r"no logarithm of a probability"),
        (_with("output_log_probs", "f", -0.5, float("-inf"), -0.5), r"no logarithm of a probability"),
        (_with("output_log_probs", "f", 4.5, 3.25, 6.0), r"no logarithm of a probability"),
        (_with("output_ids", "i", 7), r"output_ids has 1 entries for 3 tokens"),
        (_with("output_ids", "i", 7, -1, 8), r"padding within its 3 tokens"),
        (_with("sequence_length", "i", 9), r"sequence_length is 9, and 3 tokens were asked for"),
        (_with("sequence_length", "i", -1), r"-1 tokens"),
        (_with("sequence_length", "i", 3, 3), r"sequence_length holds 2 numbers"),
        (_without, r"without \['output_log_probs'\]"),
        (_without_contents, r"3 outputs have 0 contents"),
        (_cut, r"output_ids has 11 bytes"),
        (_for_another, r"bears the id of another request, '2'"),
        (_half, r"output_log_probs has the type FP16 instead of FP32"),
        (_beams, r"output_ids has the shape \[1, 2, 3\]"),
    ],
)
def test_answer_that_breaks_the_contract_says_in_what(change: Callable[[Any], None], words: str) -> None:
    """Short, padded, mistyped or missing tensors, wrong numbers and the id of another are a breach."""
    response = response_of(_GOOD)
    assert read_answer(response, request_id="1", most=3) == _GOOD
    change(response)
    with pytest.raises(InferenceBreach, match=words):
        read_answer(response, request_id="1", most=3)


def test_answer_may_be_empty() -> None:
    """A model that ends at once has answered."""
    assert read_answer(response_of(Completion((), ())), request_id="1", most=1) == Completion((), ())


def test_answer_needs_no_declared_shapes() -> None:
    """Types and shapes that a server leaves out are not asked for."""
    response = response_of(_GOOD)
    bare = service_pb2.ModelInferResponse(
        outputs=[
            service_pb2.ModelInferResponse.InferOutputTensor(name=output.name) for output in response.outputs
        ],
        raw_output_contents=list(response.raw_output_contents),
    )
    assert read_answer(bare, request_id="1", most=3) == _GOOD

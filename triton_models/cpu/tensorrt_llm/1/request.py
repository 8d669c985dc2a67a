"""A request to the ``tensorrt_llm`` model, and the tensors of its response."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from stream.generation import Completion, Prompt
from stream.inference.faults import BATCH_REFUSED, STREAMING_REFUSED
from stream.inference.triton import decode_word_list

_NO_END = -1  # the id of no token

# Inputs that must keep their neutral value, and inputs that must be absent.
_NEUTRAL: dict[str, tuple[float, ...]] = {
    "beam_width": (1,),
    "num_return_sequences": (1,),
    "runtime_top_k": (0, 1),
    "min_tokens": (0, 1),
    "temperature": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
    "return_perf_metrics": (False,),
    "stop": (False,),
}
_ABSENT = {
    "bad_words_list",
    "embedding_bias",
    "draft_input_ids",
    "draft_logits",
}

Inputs = dict[str, NDArray[Any]]


class Refusal(Exception):  # noqa: N818 - names what it is
    """A request that is answered with an error."""

    def __init__(self, message: str, *, unsupported: bool = False) -> None:
        super().__init__(message)
        # The backend adds TritonError to its module only after it has read this file.
        self.code = pb_utils.TritonError.UNSUPPORTED if unsupported else pb_utils.TritonError.INTERNAL


@dataclass(frozen=True)
class GenerationRequest:
    """The content of one request."""

    prompt: Prompt
    outputs: frozenset[str]
    exclude_input: bool
    return_log_probs: bool
    return_num_input_tokens: bool
    return_num_output_tokens: bool

    @classmethod
    def parse(cls, request: Any, *, exclude_input: bool) -> "GenerationRequest":
        """Copy a request's content; its buffers may be freed once this returns.

        Raises:
            Refusal: It is malformed, or needs more than greedy decoding.
        """
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        outputs = frozenset(request.requested_output_names())
        _check(inputs, outputs)
        return cls(
            prompt=Prompt(
                ids=tuple(inputs["input_ids"][0].tolist()),
                max_new_tokens=_scalar(inputs, "request_output_len", 0),
                end_id=_scalar(inputs, "end_id", _NO_END),
                stop_ids=_stop_ids(inputs),
            ),
            outputs=outputs,
            exclude_input=_scalar(inputs, "exclude_input_in_output", exclude_input),
            return_log_probs=_scalar(inputs, "return_log_probs", False),
            return_num_input_tokens=_scalar(inputs, "return_num_input_tokens", False),
            return_num_output_tokens=_scalar(inputs, "return_num_output_tokens", False),
        )

    def response(self, completion: Completion) -> Any:
        """The response; outputs that were not requested are omitted."""
        tensors = [
            pb_utils.Tensor(name, array) for name, array in self._tensors(completion) if name in self.outputs
        ]
        return pb_utils.InferenceResponse(tensors)

    def _tensors(self, completion: Completion) -> Iterator[tuple[str, NDArray[Any]]]:
        ids = completion.ids if self.exclude_input else self.prompt.ids + completion.ids
        yield "output_ids", np.array([[ids]], np.int32)
        yield "sequence_length", np.array([[len(ids)]], np.int32)
        if self.return_log_probs:
            yield "output_log_probs", np.array([[completion.log_probs]], np.float32)
            yield "cum_log_probs", np.array([[sum(completion.log_probs)]], np.float32)
        if self.return_num_input_tokens:
            yield "num_input_tokens", np.array([[len(self.prompt.ids)]], np.int32)
        if self.return_num_output_tokens:
            yield "num_output_tokens", np.array([[len(completion.ids)]], np.int32)


def _check(inputs: Inputs, outputs: frozenset[str]) -> None:
    for name in ("output_ids", "sequence_length"):
        if name not in outputs:
            raise Refusal(f"{name} tensor must be present in list of output tensors")
    if "input_ids" not in inputs:
        raise Refusal("inputTokens or encoderInputFeatures tensor not provided")
    if inputs["input_ids"].shape[0] > 1:
        raise Refusal(BATCH_REFUSED)
    if inputs["input_ids"].size == 0:
        raise Refusal("input_ids holds no token")
    if "request_output_len" not in inputs:  # Triton checks the number of required inputs, not their names
        raise Refusal("request_output_len is not present in the request")
    if _scalar(inputs, "request_output_len", 0) < 1:
        raise Refusal("request_output_len must be at least 1")
    if _scalar(inputs, "streaming", False):
        raise Refusal(STREAMING_REFUSED)
    unsupported = [
        *(inputs.keys() & _ABSENT),
        *(name for name in inputs.keys() & _NEUTRAL.keys() if inputs[name].item() not in _NEUTRAL[name]),
    ]
    if unsupported:
        names = ", ".join(sorted(unsupported))
        raise Refusal(f"the CPU engine decodes greedily and cannot honour: {names}", unsupported=True)


def _scalar(inputs: Inputs, name: str, default: Any) -> Any:
    return inputs[name].item() if name in inputs else default


def _stop_ids(inputs: Inputs) -> tuple[int, ...]:
    if "stop_words_list" not in inputs:
        return ()
    flat, ends = inputs["stop_words_list"].reshape(2, -1).tolist()
    try:
        words = decode_word_list(flat, ends)
    except ValueError as error:
        raise Refusal(str(error)) from error
    if any(len(word) > 1 for word in words):
        raise Refusal(
            "the CPU engine stops at single tokens; stop_words_list holds a longer word", unsupported=True
        )
    return tuple(word[0] for word in words)

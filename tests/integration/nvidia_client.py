"""NVIDIA's own client of the ``tensorrt_llm`` contract, as any program may use it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

from stream.generation import Prompt
from stream.inference.triton import MODEL_NAME

_DATATYPES = {np.dtype(np.int32): "INT32", np.dtype(np.float32): "FP32", np.dtype(bool): "BOOL"}


async def infer(
    url: str, prompt: Prompt, *outputs: str, **changes: NDArray[Any] | None
) -> dict[str, NDArray[Any]]:
    """Outputs for a prompt, whose end id is not sent; ``changes`` replace, add or (None) remove inputs.

    Args:
        url: gRPC address of the server.
        prompt: The prompt.
        outputs: Names of the outputs to ask for; none asks for all.
        changes: Arrays by the name of an input.
    """
    inputs: dict[str, NDArray[Any] | None] = {
        "input_ids": np.array([prompt.ids], np.int32),
        "input_lengths": np.array([[len(prompt.ids)]], np.int32),
        "request_output_len": np.array([[prompt.max_new_tokens]], np.int32),
        "return_log_probs": np.array([[True]]),
        **changes,
    }
    tensors = []
    for name, array in inputs.items():
        if array is not None:
            tensors.append(InferInput(name, list(array.shape), _DATATYPES[array.dtype]))
            tensors[-1].set_data_from_numpy(array)
    async with InferenceServerClient(url) as client:
        result = await client.infer(
            MODEL_NAME, tensors, outputs=[InferRequestedOutput(name) for name in outputs] or None
        )
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

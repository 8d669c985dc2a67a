"""Products of 8-bit integers as this processor computes them.

ONNX Runtime multiplies unsigned activations with signed weights by the instructions that a processor has.
Those of AVX2 without VNNI add two products in 16 bits and cut what does not fit: large values sum up wrong.
Unsigned weights go another way there, which is exact
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

_LENGTH, _WIDTH = 64, 16  # more than any kernel takes at once


@cache
def signed_weights_are_exact() -> bool:
    """Multiply the largest values there are, and tell whether the sum is right on this processor."""
    weights = np.full((_LENGTH, _WIDTH), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "probe",
        [helper.make_tensor_value_info("activations", TensorProto.UINT8, [1, _LENGTH])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, _WIDTH])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    activations = np.full((1, _LENGTH), 255, np.uint8)
    (sums,) = session.run(None, {"activations": activations})
    return bool((sums == activations.astype(np.int32) @ weights.astype(np.int32)).all())

"""The operators and constants of an ONNX graph in the making."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stream.engine.checkpoint import FloatArray
from stream.errors import CheckpointError

FUSED = "com.microsoft"

_OPSET = 23
_IR_VERSION = 10
_INT8 = 127
_LEAST = 1e-12


class Operators:
    """Collects them; each method that adds one returns the name of its output.

    Args:
        weights: By their Hugging Face names.
        int8: Whether matrix products are of 8-bit integers.
    """

    def __init__(self, weights: Mapping[str, FloatArray], *, int8: bool) -> None:
        self._weights = weights
        self._int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Any operator with one output."""
        return self.add_several(operator, inputs, [output], **attributes)[0]

    def add_several(
        self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Any operator."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def product(self, name: str, matrix: FloatArray, output: str) -> str:
        """A matrix product with a constant."""
        if not self._int8:
            return self.add("MatMul", [name, self.constant(f"{output}.weight", matrix)], output)
        # A column of zeros has no scale of its own.
        scales = np.maximum(np.abs(matrix).max(axis=0), _LEAST) / _INT8
        whole = self.add(
            "MatMulIntegerToFloat",
            [
                self._in_8_bits(name),
                self.constant(f"{output}.weight", np.rint(matrix / scales).astype(np.int8)),
                self.constant("one", np.array(1, np.float32)),
                self.constant(f"{output}.scales", scales.astype(np.float32)),
                self.constant("middle", np.array(_INT8 + 1, np.uint8)),
            ],
            f"{output}.whole",
            domain=FUSED,
        )
        return self.add("Mul", [whole, f"{name}.scales"], output)

    def linear(self, name: str, parts: list[str], widths: list[int], fan_in: int, output: str) -> str:
        """One matrix product for several projections of the same input, with their biases, if any."""
        matrices = [
            self.tensor(f"{part}.weight", (width, fan_in)).T
            for part, width in zip(parts, widths, strict=True)
        ]
        product = self.product(name, np.concatenate(matrices, axis=1), output)
        if not any(f"{part}.bias" in self._weights for part in parts):
            return product
        biases = [
            self.tensor(f"{part}.bias", (width,)) if self.has(f"{part}.bias") else np.zeros(width, np.float32)
            for part, width in zip(parts, widths, strict=True)
        ]
        bias = self.constant(f"{output}.bias", np.concatenate(biases))
        return self.add("Add", [product, bias], f"{output}.biased")

    def output(self, name: str, shape: list[int | str]) -> None:
        """Let a value be one of the graph's outputs."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def has(self, name: str) -> bool:
        """Whether the model has a tensor."""
        return name in self._weights

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> FloatArray:
        """A tensor of the model.

        Raises:
            CheckpointError: There is none of this name and shape.
        """
        tensor = self._weights.get(name)
        if tensor is None:
            raise CheckpointError(
                f"the weights hold no tensor {name}, which the model's configuration calls for"
            )
        if shape is not None and tensor.shape != shape:
            raise CheckpointError(
                f"tensor {name} has shape {tensor.shape}, but the configuration says {shape}"
            )
        return tensor

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """A tensor of the model as a constant."""
        return self.constant(name, self.tensor(name, shape))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant; of one name there is one."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def model(self, name: str, inputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The graph of all that was added."""
        graph = helper.make_graph(self._nodes, name, inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _in_8_bits(self, name: str) -> str:
        """An activation in 8 bits, every token divided by its own scale."""
        sizes = self.add("Abs", [name], f"{name}.sizes")
        last_axis = self.constant("last_axis", np.array([-1], np.int64))
        greatest = self.add("ReduceMax", [sizes, last_axis], f"{name}.greatest", keepdims=1)
        least = self.constant("least", np.array(_LEAST, np.float32))
        some = self.add("Max", [greatest, least], f"{name}.some")
        most = self.constant("most", np.array(_INT8, np.float32))
        scales = self.add("Div", [some, most], f"{name}.scales")
        scaled = self.add("Div", [name, scales], f"{name}.scaled")
        return self.add("QuantizeLinear", [scaled, "one", "middle"], f"{name}.int8")

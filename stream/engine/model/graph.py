"""The ONNX graph of one forward pass over one tree of tokens, built from a checkpoint's weights.

Everything runs as one sequence of N new tokens after P cached ones. The tree attention mask alone separates
prompts, branches and drafts, so one graph serves all of them. Rotary embedding runs outside the attention
operator, since only then can every token have its own position.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stream.engine.model.checkpoint import FloatArray
from stream.engine.model.config import ModelSpec, Rotary
from stream.engine.model.int8_products import signed_weights_are_exact
from stream.errors import CheckpointError

FUSED = "com.microsoft"

_OPSET = 23
_IR_VERSION = 10
_INT8 = 127
_LEAST = 1e-12


class Operators:
    """Collects a graph's operators; each method that adds one returns the name of its output.

    Args:
        weights: By their Hugging Face names.
        int8: Whether matrix products are int8-quantised.
    """

    def __init__(self, weights: Mapping[str, FloatArray], *, int8: bool) -> None:
        self._weights = weights
        self._int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        return self.add_several(operator, inputs, [output], **attributes)[0]

    def add_several(
        self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Add an operator."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def product(self, name: str, matrix: FloatArray, output: str) -> str:
        """Add a matrix product with a constant."""
        if not self._int8:
            return self.add("MatMul", [name, self.constant(f"{output}.weight", matrix)], output)
        # A column of zeros would have scale 0.
        scales = np.maximum(np.abs(matrix).max(axis=0), _LEAST) / _INT8
        middle = self.constant("middle", np.array(_INT8 + 1, np.uint8))
        weight, middle_of_weight = np.rint(matrix / scales), ""
        if not signed_weights_are_exact():
            weight, middle_of_weight = weight + _INT8 + 1, middle
        whole = self.add(
            "MatMulIntegerToFloat",
            [
                self._quantised(name),
                self.constant(f"{output}.weight", weight.astype(np.uint8 if middle_of_weight else np.int8)),
                self.constant("one", np.array(1, np.float32)),
                self.constant(f"{output}.scales", scales.astype(np.float32)),
                middle,
                middle_of_weight,
            ],
            f"{output}.whole",
            domain=FUSED,
        )
        return self.add("Mul", [whole, f"{name}.scales"], output)

    def linear(self, name: str, parts: list[str], widths: list[int], fan_in: int, output: str) -> str:
        """Add one matrix product for several projections of the same input, with their biases, if any."""
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
        """Make a value one of the graph's outputs."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def has(self, name: str) -> bool:
        """True if the model has a tensor of this name."""
        return name in self._weights

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> FloatArray:
        """A tensor of the model.

        Raises:
            CheckpointError: No tensor has this name and shape.
        """
        tensor = self._weights.get(name)
        if tensor is None:
            raise CheckpointError(
                f"the weights hold no tensor {name}, which the model's configuration requires"
            )
        if shape is not None and tensor.shape != shape:
            raise CheckpointError(
                f"tensor {name} has shape {tensor.shape}, but the configuration requires {shape}"
            )
        return tensor

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """Add a tensor of the model as a constant."""
        return self.constant(name, self.tensor(name, shape))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once for each name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def model(self, name: str, inputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The graph of all added operators."""
        graph = helper.make_graph(self._nodes, name, inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _quantised(self, name: str) -> str:
        """An activation as int8, with a scale per token."""
        sizes = self.add("Abs", [name], f"{name}.sizes")
        last_axis = self.constant("last_axis", np.array([-1], np.int64))
        greatest = self.add("ReduceMax", [sizes, last_axis], f"{name}.greatest", keepdims=1)
        least = self.constant("least", np.array(_LEAST, np.float32))
        some = self.add("Max", [greatest, least], f"{name}.some")
        most = self.constant("most", np.array(_INT8, np.float32))
        scales = self.add("Div", [some, most], f"{name}.scales")
        scaled = self.add("Div", [name, scales], f"{name}.scaled")
        return self.add("QuantizeLinear", [scaled, "one", "middle"], f"{name}.int8")


GRAPH_VERSION = 4
"""To be raised whenever the same checkpoint gives another graph."""

MAX_PASS_TOKENS = 4096
"""Maximum number of new tokens in a pass."""


def build_graph(spec: ModelSpec, weights: Mapping[str, FloatArray], *, int8: bool = False) -> onnx.ModelProto:
    """Build the graph.

    The engine has one row (B = 1); the padded batches of the benchmark have several.

    Inputs: ``ids`` (B, N) and ``positions`` (B, N) int64; ``past`` (B, P) int64, slots of the KV cache;
    ``mask`` (B, 1, N, P + N) float32, added to the attention scores; ``rows`` (R) int64, the tokens with
    logits; ``keys_l``, ``values_l`` (slots, kv_width) float32, the KV cache of layer l.

    Outputs: ``logits`` (B * R, vocabulary); ``new_keys_l`` and ``new_values_l`` (B, N, kv_width).

    Args:
        spec: The model's shapes.
        weights: By their Hugging Face names.
        int8: Whether the layers' matrix products are int8-quantised: weights with a scale per column,
            activations with a scale per token. The output head stays fp32.

    Raises:
        CheckpointError: A weight is missing, or its shape contradicts the configuration.
    """
    return _GraphBuilder(spec, Operators(weights, int8=int8)).build()


class _GraphBuilder:
    """Adds a model part by part; each method returns the name of its output."""

    def __init__(self, spec: ModelSpec, operators: Operators) -> None:
        self._spec = spec
        self._operators = operators
        self._tables: dict[Rotary, list[str]] = {}

    def build(self) -> onnx.ModelProto:
        spec, layers = self._spec, "model.layers"
        embedding = self._operators.weight("model.embed_tokens.weight", (spec.vocabulary, spec.hidden))
        residual = self._embed(embedding)
        normed = self._norm(residual, f"{layers}.0.input_layernorm.weight", "first")
        for layer in range(spec.layers):
            attended = self._attention(layer, normed)
            before = "post_attention_layernorm"
            if spec.family.post_norms:
                attended = self._norm(attended, f"{layers}.{layer}.{before}.weight", f"l{layer}.behind")
                before = "pre_feedforward_layernorm"
            gain = f"{layers}.{layer}.{before}.weight"
            normed, residual = self._add_and_norm(attended, residual, gain, f"l{layer}.mid")
            fed = self._mlp(layer, normed)
            if spec.family.post_norms:
                gain = f"{layers}.{layer}.post_feedforward_layernorm.weight"
                fed = self._norm(fed, gain, f"l{layer}.fed")
            if layer + 1 < spec.layers:
                gain = f"{layers}.{layer + 1}.input_layernorm.weight"
                normed, residual = self._add_and_norm(fed, residual, gain, f"l{layer}.out")
            else:
                residual = self._operators.add("Add", [fed, residual], "last")
        self._head(residual, embedding)
        return self._operators.model("decoder", self._inputs())

    def _embed(self, embedding: str) -> str:
        embedded = self._operators.add("Gather", [embedding, "ids"], "embedded")
        if not self._spec.family.post_norms:
            return embedded
        root = self._operators.constant("root", np.array(self._spec.hidden**0.5, np.float32))
        return self._operators.add("Mul", [embedded, root], "embedded_wide")

    def _attention(self, layer: int, normed: str) -> str:
        spec, at, operators = self._spec, f"model.layers.{layer}.self_attn", self._operators
        query_width = spec.heads * spec.head_width
        widths = [query_width, spec.kv_width, spec.kv_width]
        parts = [f"{at}.{part}_proj" for part in "qkv"]
        fused = operators.linear(normed, parts, widths, spec.hidden, f"l{layer}.qkv")
        sizes = operators.constant("qkv_widths", np.array(widths, np.int64))
        query, key, value = operators.add_several(
            "Split", [fused, sizes], [f"l{layer}.q", f"l{layer}.k", f"new_values_{layer}"], axis=-1
        )
        query = self._head_norm(query, f"{at}.q_norm.weight", query_width)
        query = self._rotate(query, layer, spec.heads, f"l{layer}.rq")
        key = self._head_norm(key, f"{at}.k_norm.weight", spec.kv_width)
        key = self._rotate(key, layer, spec.kv_heads, f"new_keys_{layer}")
        for name in (key, value):
            operators.output(name, ["B", "N", spec.kv_width])
        attended = operators.add(
            "Attention",
            [query, self._with_past(f"keys_{layer}", key), self._with_past(f"values_{layer}", value), "mask"],
            f"l{layer}.attended",
            q_num_heads=spec.heads,
            kv_num_heads=spec.kv_heads,
            scale=spec.attention_scale,
        )
        return operators.linear(attended, [f"{at}.o_proj"], [spec.hidden], query_width, f"l{layer}.o")

    def _with_past(self, cached: str, new: str) -> str:
        past = self._operators.add("Gather", [cached, "past"], f"{cached}.past")
        return self._operators.add("Concat", [past, new], f"{cached}.all", axis=1)

    def _rotate(self, name: str, layer: int, heads: int, output: str) -> str:
        rotary = self._spec.rotaries[layer]
        if rotary not in self._tables:
            self._tables[rotary] = self._rotary_tables(rotary)
        return self._operators.add(
            "RotaryEmbedding",
            [name, "positions", *self._tables[rotary]],
            output,
            domain=FUSED,
            num_heads=heads,
            interleaved=0,
        )

    def _rotary_tables(self, rotary: Rotary) -> list[str]:
        steps = rotary.inverse_frequencies(self._spec.head_width)
        # The operator takes no more tokens than its tables have rows, whatever their positions.
        angles = np.outer(np.arange(max(self._spec.max_positions, MAX_PASS_TOKENS)), steps)
        number = len(self._tables)
        return [
            self._operators.constant(f"rotary_{part}_{number}", table.astype(np.float32))
            for part, table in (("cos", np.cos(angles)), ("sin", np.sin(angles)))
        ]

    def _head_norm(self, name: str, gain: str, width: int) -> str:
        """Normalise every head by itself (Qwen 3, Gemma 3); other models have no such weight."""
        operators = self._operators
        if not operators.has(gain):
            return name
        apart = operators.constant("heads_apart", np.array([0, 0, -1, self._spec.head_width], np.int64))
        together = operators.constant(f"heads_together_{width}", np.array([0, 0, width], np.int64))
        split = operators.add("Reshape", [name, apart], f"{name}.heads")
        normed = self._norm(split, gain, f"{name}.normed", self._spec.head_width)
        return operators.add("Reshape", [normed, together], f"{name}.flat")

    def _mlp(self, layer: int, normed: str) -> str:
        at, operators = f"model.layers.{layer}.mlp", self._operators
        width = len(operators.tensor(f"{at}.gate_proj.weight"))
        parts = [f"{at}.gate_proj", f"{at}.up_proj"]
        fused = operators.linear(normed, parts, [width, width], self._spec.hidden, f"l{layer}.gate_up")
        gate, up = operators.add_several(
            "Split", [fused], [f"l{layer}.gate", f"l{layer}.up"], axis=-1, num_outputs=2
        )
        if self._spec.family.activation == "silu":
            # QuickGelu with alpha 1 is SiLU in one fused operator.
            active = operators.add("QuickGelu", [gate], f"l{layer}.active", domain=FUSED, alpha=1.0)
        else:
            active = operators.add("Gelu", [gate], f"l{layer}.active", approximate="tanh")
        gated = operators.add("Mul", [active, up], f"l{layer}.gated")
        return operators.linear(gated, [f"{at}.down_proj"], [self._spec.hidden], width, f"l{layer}.down")

    def _head(self, residual: str, embedding: str) -> None:
        spec, operators = self._spec, self._operators
        asked = operators.add("Gather", [residual, "rows"], "asked", axis=1)
        shape = operators.constant("flat", np.array([-1, spec.hidden], np.int64))
        flat = operators.add("Reshape", [asked, shape], "asked_flat")
        normed = self._norm(flat, "model.norm.weight", "asked_normed")
        head = embedding if spec.tied else operators.weight("lm_head.weight", (spec.vocabulary, spec.hidden))
        operators.add("Gemm", [normed, head], "logits", transB=1)
        operators.output("logits", ["B*R", spec.vocabulary])

    def _norm(self, name: str, gain: str, output: str, width: int | None = None) -> str:
        return self._operators.add(
            "SimplifiedLayerNormalization",
            [name, self._gain(gain, width or self._spec.hidden)],
            output,
            axis=-1,
            epsilon=self._spec.norm_epsilon,
        )

    def _add_and_norm(self, name: str, residual: str, gain: str, output: str) -> tuple[str, str]:
        self._operators.add_several(
            "SkipSimplifiedLayerNormalization",
            [name, residual, self._gain(gain, self._spec.hidden)],
            [output, "", "", f"{output}.sum"],
            domain=FUSED,
            epsilon=self._spec.norm_epsilon,
        )
        return output, f"{output}.sum"

    def _gain(self, name: str, width: int) -> str:
        gain = self._operators.tensor(name, (width,))
        return self._operators.constant(name, gain + 1 if self._spec.family.post_norms else gain)

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        integer, real = TensorProto.INT64, TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info("ids", integer, ["B", "N"]),
            helper.make_tensor_value_info("positions", integer, ["B", "N"]),
            helper.make_tensor_value_info("past", integer, ["B", "P"]),
            helper.make_tensor_value_info("mask", real, ["B", 1, "N", "T"]),
            helper.make_tensor_value_info("rows", integer, ["R"]),
        ]
        return inputs + [
            helper.make_tensor_value_info(f"{part}_{layer}", real, ["slots", self._spec.kv_width])
            for layer in range(self._spec.layers)
            for part in ("keys", "values")
        ]

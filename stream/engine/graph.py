"""The ONNX graph of one forward pass over one tree of tokens, built from a checkpoint's weights.

Everything runs as one sequence of N new tokens behind P cached ones; which token sees which is said by the
mask alone, so one graph serves prompts, branches and several candidate continuations alike. Rotation is done
outside the attention operator because only so every token has a position of its own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stream.engine.checkpoint import FloatArray, ModelSpec, inverse_frequencies
from stream.errors import CheckpointError

GRAPH_VERSION = 2
"""To be raised whenever the graph built from the same checkpoint changes."""

_OPSET = 23
_IR_VERSION = 10
_FUSED = "com.microsoft"
_INT8 = 127
_LEAST = 1e-12


def build_graph(spec: ModelSpec, weights: Mapping[str, FloatArray], *, int8: bool = False) -> onnx.ModelProto:
    """Build the graph.

    The engine reads one row (B = 1); the padded batches it is compared with have several.

    Inputs: ``ids`` (B, N) and ``positions`` (B, N) int64; ``past`` (B, P) int64, rows of the pool;
    ``mask`` (B, 1, N, P + N) float32, added to the attention scores; ``rows`` (R) int64, the tokens whose
    continuation is asked for; ``keys_l``, ``values_l`` (slots, kv_width) float32, the pool of layer l.

    Outputs: ``logits`` (B * R, vocabulary); ``new_keys_l`` and ``new_values_l`` (B, N, kv_width).

    Args:
        spec: The model's shapes.
        weights: By their Hugging Face names.
        int8: Whether the layers multiply 8-bit integers: weights with a scale for every column,
            activations with a scale for every token, so that no token depends on what is read beside it. The
            output head stays fp32.

    Raises:
        CheckpointError: A weight is missing or has another shape than the configuration says.
    """
    return _GraphBuilder(spec, weights, int8=int8).build()


class _GraphBuilder:
    """Collects nodes and initialisers; each method adds one part and returns the name of its output."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, FloatArray], *, int8: bool) -> None:
        self._spec = spec
        self._int8 = int8
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []

    def build(self) -> onnx.ModelProto:
        self._rotary_tables()
        embedding = self._weight("model.embed_tokens.weight", (self._spec.vocabulary, self._spec.hidden))
        residual = self._add("Gather", [embedding, "ids"], "embedded")
        normed = self._norm(residual, "model.layers.0.input_layernorm.weight", "first")
        for layer in range(self._spec.layers):
            attended = self._attention(layer, normed)
            normed, residual = self._add_and_norm(
                attended, residual, f"model.layers.{layer}.post_attention_layernorm.weight", f"l{layer}.mid"
            )
            fed = self._mlp(layer, normed)
            if layer + 1 < self._spec.layers:
                gain = f"model.layers.{layer + 1}.input_layernorm.weight"
                normed, residual = self._add_and_norm(fed, residual, gain, f"l{layer}.out")
            else:
                residual = self._add("Add", [fed, residual], "last")
        self._head(residual, embedding)
        return self._model()

    def _attention(self, layer: int, normed: str) -> str:
        spec, at = self._spec, f"model.layers.{layer}.self_attn"
        query_width = spec.heads * spec.head_width
        widths = [query_width, spec.kv_width, spec.kv_width]
        fused = self._linear(
            normed, [f"{at}.{part}_proj" for part in "qkv"], widths, spec.hidden, f"l{layer}.qkv"
        )
        query, key, value = f"l{layer}.q", f"l{layer}.k", f"new_values_{layer}"
        sizes = self._constant(f"l{layer}.qkv_widths", np.array(widths, np.int64))
        self._nodes.append(helper.make_node("Split", [fused, sizes], [query, key, value], axis=-1))
        query = self._rotate(
            self._head_norm(query, f"{at}.q_norm.weight", query_width), spec.heads, f"l{layer}.rq"
        )
        key = self._rotate(
            self._head_norm(key, f"{at}.k_norm.weight", spec.kv_width), spec.kv_heads, f"new_keys_{layer}"
        )
        for name in (key, value):
            self._output(name, ["B", "N", spec.kv_width])
        attended = self._add(
            "Attention",
            [query, self._with_past(f"keys_{layer}", key), self._with_past(f"values_{layer}", value), "mask"],
            f"l{layer}.attended",
            q_num_heads=spec.heads,
            kv_num_heads=spec.kv_heads,
        )
        return self._linear(attended, [f"{at}.o_proj"], [spec.hidden], query_width, f"l{layer}.o")

    def _with_past(self, pool: str, new: str) -> str:
        past = self._add("Gather", [pool, "past"], f"{pool}.past")
        return self._add("Concat", [past, new], f"{pool}.all", axis=1)

    def _rotate(self, name: str, heads: int, output: str) -> str:
        return self._add(
            "RotaryEmbedding",
            [name, "positions", "rotary_cos", "rotary_sin"],
            output,
            domain=_FUSED,
            num_heads=heads,
            interleaved=0,
        )

    def _head_norm(self, name: str, gain: str, width: int) -> str:
        """Norm of every head by itself (Qwen 3); other models have no such weight."""
        if gain not in self._weights:
            return name
        apart = self._constant("heads_apart", np.array([0, 0, -1, self._spec.head_width], np.int64))
        together = self._constant(f"heads_together_{width}", np.array([0, 0, width], np.int64))
        split = self._add("Reshape", [name, apart], f"{name}.heads")
        normed = self._norm(split, gain, f"{name}.normed", self._spec.head_width)
        return self._add("Reshape", [normed, together], f"{name}.flat")

    def _mlp(self, layer: int, normed: str) -> str:
        at = f"model.layers.{layer}.mlp"
        width = len(self._tensor(f"{at}.gate_proj.weight"))
        fused = self._linear(
            normed,
            [f"{at}.gate_proj", f"{at}.up_proj"],
            [width, width],
            self._spec.hidden,
            f"l{layer}.gate_up",
        )
        gate, up = f"l{layer}.gate", f"l{layer}.up"
        self._nodes.append(helper.make_node("Split", [fused], [gate, up], axis=-1, num_outputs=2))
        # QuickGelu with alpha 1 is SiLU in one fused operator.
        active = self._add("QuickGelu", [gate], f"l{layer}.active", domain=_FUSED, alpha=1.0)
        gated = self._add("Mul", [active, up], f"l{layer}.gated")
        return self._linear(gated, [f"{at}.down_proj"], [self._spec.hidden], width, f"l{layer}.down")

    def _head(self, residual: str, embedding: str) -> None:
        spec = self._spec
        asked = self._add("Gather", [residual, "rows"], "asked", axis=1)
        flat = self._add(
            "Reshape", [asked, self._constant("flat", np.array([-1, spec.hidden], np.int64))], "asked_flat"
        )
        normed = self._norm(flat, "model.norm.weight", "asked_normed")
        head = embedding if spec.tied else self._weight("lm_head.weight", (spec.vocabulary, spec.hidden))
        self._add("Gemm", [normed, head], "logits", transB=1)
        self._output("logits", ["B*R", spec.vocabulary])

    def _linear(self, name: str, parts: list[str], widths: list[int], fan_in: int, output: str) -> str:
        """One matrix product for several projections of the same input, with their biases, if any."""
        matrices = [
            self._tensor(f"{part}.weight", (width, fan_in)).T
            for part, width in zip(parts, widths, strict=True)
        ]
        product = self._product(name, np.concatenate(matrices, axis=1), output)
        if not any(f"{part}.bias" in self._weights for part in parts):
            return product
        biases = [
            self._tensor(f"{part}.bias", (width,))
            if f"{part}.bias" in self._weights
            else np.zeros(width, np.float32)
            for part, width in zip(parts, widths, strict=True)
        ]
        return self._add(
            "Add", [product, self._constant(f"{output}.bias", np.concatenate(biases))], f"{output}.biased"
        )

    def _product(self, name: str, matrix: FloatArray, output: str) -> str:
        if not self._int8:
            return self._add("MatMul", [name, self._constant(f"{output}.weight", matrix)], output)
        # A column of zeros has no scale of its own.
        scales = np.maximum(np.abs(matrix).max(axis=0), _LEAST) / _INT8
        whole = self._add(
            "MatMulIntegerToFloat",
            [
                self._in_8_bits(name),
                self._constant(f"{output}.weight", np.rint(matrix / scales).astype(np.int8)),
                self._constant("one", np.array(1, np.float32)),
                self._constant(f"{output}.scales", scales.astype(np.float32)),
                self._constant("middle", np.array(_INT8 + 1, np.uint8)),
            ],
            f"{output}.whole",
            domain=_FUSED,
        )
        return self._add("Mul", [whole, f"{name}.scales"], output)

    def _in_8_bits(self, name: str) -> str:
        """An activation in 8 bits, every token divided by its own scale."""
        greatest = self._add(
            "ReduceMax",
            [
                self._add("Abs", [name], f"{name}.sizes"),
                self._constant("last_axis", np.array([-1], np.int64)),
            ],
            f"{name}.greatest",
            keepdims=1,
        )
        some = self._add(
            "Max", [greatest, self._constant("least", np.array(_LEAST, np.float32))], f"{name}.some"
        )
        scales = self._add(
            "Div", [some, self._constant("most", np.array(_INT8, np.float32))], f"{name}.scales"
        )
        scaled = self._add("Div", [name, scales], f"{name}.scaled")
        return self._add("QuantizeLinear", [scaled, "one", "middle"], f"{name}.int8")

    def _norm(self, name: str, gain: str, output: str, width: int | None = None) -> str:
        scale = self._weight(gain, (width or self._spec.hidden,))
        return self._add(
            "SimplifiedLayerNormalization", [name, scale], output, axis=-1, epsilon=self._spec.norm_epsilon
        )

    def _add_and_norm(self, name: str, residual: str, gain: str, output: str) -> tuple[str, str]:
        scale = self._weight(gain, (self._spec.hidden,))
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [name, residual, scale],
                [output, "", "", f"{output}.sum"],
                domain=_FUSED,
                epsilon=self._spec.norm_epsilon,
            )
        )
        return output, f"{output}.sum"

    def _rotary_tables(self) -> None:
        angles = np.outer(np.arange(self._spec.max_positions), inverse_frequencies(self._spec))
        self._constant("rotary_cos", np.cos(angles).astype(np.float32))
        self._constant("rotary_sin", np.sin(angles).astype(np.float32))

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _output(self, name: str, shape: list[int | str]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _tensor(self, name: str, shape: tuple[int, ...] | None = None) -> FloatArray:
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

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        return self._constant(name, self._tensor(name, shape))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _model(self) -> onnx.ModelProto:
        integer, real = TensorProto.INT64, TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info("ids", integer, ["B", "N"]),
            helper.make_tensor_value_info("positions", integer, ["B", "N"]),
            helper.make_tensor_value_info("past", integer, ["B", "P"]),
            helper.make_tensor_value_info("mask", real, ["B", 1, "N", "T"]),
            helper.make_tensor_value_info("rows", integer, ["R"]),
        ]
        inputs += [
            helper.make_tensor_value_info(f"{part}_{layer}", real, ["slots", self._spec.kv_width])
            for layer in range(self._spec.layers)
            for part in ("keys", "values")
        ]
        graph = helper.make_graph(
            self._nodes, "decoder", inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

# ruff: noqa: INP001 - a script beside its figures
"""Forward passes of a Llama-shaped model of random weights in static shapes, as CUDA graphs where wanted.

Norms, rotary positions, attention under a mask by ``scaled_dot_product_attention``, gated MLP, head; keys and
values of all layers in a static cache. Needs torch alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional

# A GPU reads 16 tokens in the time of one; between 64 and 256 it begins to be bound by arithmetic.
_NEW = (1, 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_BATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
_SPANS = (128, 192, 256, 384, 512)
_ROWS = (16, 64, 256)
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Sizes:
    """Layers, width, heads, width of the MLP, vocabulary."""

    layers: int
    hidden: int
    heads: int
    inner: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Feed:
    """A pass of B rows with N new tokens each, behind P cached ones, asked for the logits of R tokens.

    Attributes:
        ids: (B, N).
        positions: (B, N).
        seen: (B, N, P + N), whether a new token sees a token.
        rows: (R,), indices into B * N.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def causal(cls, batch: int, new: int, past: int, rows: int, vocabulary: int) -> "Feed":
        """Random tokens that see all before them; of every row of the batch the last are asked for."""
        each = min(rows // batch, new)
        return cls(
            torch.randint(vocabulary, (batch, new)),
            torch.arange(past, past + new).expand(batch, new),
            torch.ones((new, past + new), dtype=torch.bool).tril(past).expand(batch, new, past + new),
            torch.arange(batch * new).view(batch, new)[:, new - each :].flatten(),
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What a pass is padded to: rows of the batch, new tokens, length of the cache, rows of logits."""

    batch: int
    new: int
    span: int
    rows: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """A padded pass.

    Attributes:
        shape: What it is padded to.
        tensors: Ids and positions (B, N), slots (N,), seen (B, N, span), rows (R,).
    """

    shape: Shape
    tensors: tuple[torch.Tensor, ...]


class Model:
    """Random weights on a device.

    Args:
        sizes: Of the model.
        device: "cuda" or "cpu".
        kind: Of weights, keys and values.
        most: Rows of a batch, and length of the cache, that passes may have.
    """

    def __init__(self, sizes: Sizes, device: str, kind: torch.dtype, most: tuple[int, int]) -> None:
        self.sizes, self.passes = sizes, 0
        self._device, self._kind = device, kind
        hidden, width = sizes.hidden, sizes.hidden // sizes.heads
        shapes = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden)}
        shapes |= {"gate_up": (2 * sizes.inner, hidden), "down": (hidden, sizes.inner)}
        self._layers = [
            {name: self._random(shape) for name, shape in shapes.items()} for _ in range(sizes.layers)
        ]
        self._embedding = self._random((sizes.vocabulary, hidden))
        self._head = self._random((sizes.vocabulary, hidden))
        self._norm = torch.ones(hidden, device=device, dtype=kind)
        angles = torch.outer(torch.arange(_LONGEST), 10_000.0 ** (-torch.arange(0, width, 2) / width))
        self._cos = torch.cat((angles.cos(), angles.cos()), -1).to(device, kind)
        self._sin = torch.cat((-angles.sin(), angles.sin()), -1).to(device, kind)
        batch, span = _up(most[0], _BATCHES), _up(most[1] + 1, _SPANS)
        self._cache = torch.zeros(
            (sizes.layers, 2, batch, sizes.heads, span, width), device=device, dtype=kind
        )
        self._graphs: dict[Shape, tuple[torch.cuda.CUDAGraph, Inputs, tuple[torch.Tensor, torch.Tensor]]] = {}
        if device == "cuda":
            # Of the other fused kernels none takes a mask without being built anew for every shape.
            torch.backends.cuda.enable_cudnn_sdp(enabled=False)
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    @property
    def parameters(self) -> int:
        """Weights of matrices."""
        layers = sum(weight.numel() for layer in self._layers for weight in layer.values())
        return layers + 2 * self._head.numel()

    @property
    def graphs(self) -> int:
        """Shapes captured so far."""
        return len(self._graphs)

    def padded(self, feed: Feed) -> Inputs:
        """A pass in its static shape, in pinned memory where there is a GPU.

        Tokens that pad it are written into the cache's last slot, which no token sees, and see the first.
        """
        batch, new, total = feed.seen.shape
        shape = Shape(
            _up(batch, _BATCHES), _up(new, _NEW), _up(total + 1, _SPANS), _up(len(feed.rows), _ROWS)
        )
        ids, positions, slots, seen, rows = blank = self._blank(shape, "cpu")
        ids[:batch, :new], positions[:batch, :new] = feed.ids, feed.positions
        slots[:new] = torch.arange(total - new, total)
        seen[:batch, :new] = False
        seen[:batch, :new, :total] = feed.seen
        rows[: len(feed.rows)] = feed.rows // new * shape.new + feed.rows % new
        return Inputs(shape, tuple(each.pin_memory() for each in blank) if self._device == "cuda" else blank)

    def prepare(self, shape: Shape) -> None:
        """Capture a shape's graph, unless it is there."""
        if shape in self._graphs:
            return
        static = Inputs(shape, self._blank(shape, self._device))
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            self._forward(static)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self._forward(static)
        self._graphs[shape] = graph, static, outputs

    def run(self, inputs: Inputs, *, graph: bool) -> tuple[list[int], torch.Tensor]:
        """One pass, from handing it over until the host knows the likeliest tokens.

        Returns:
            Of every row asked for, and of those that pad them, the likeliest token; and the logits, which the
            next pass of the shape overwrites.
        """
        self.passes += 1
        if graph:
            captured, static, (logits, tokens) = self._graphs[inputs.shape]
            for into, given in zip(static.tensors, inputs.tensors, strict=True):
                into.copy_(given, non_blocking=True)
            captured.replay()
        else:
            moved = tuple(each.to(self._device, non_blocking=True) for each in inputs.tensors)
            logits, tokens = self._forward(Inputs(inputs.shape, moved))
        return tokens.tolist(), logits

    def _random(self, shape: tuple[int, int]) -> torch.Tensor:
        """Weights that keep activations finite, made where they stay."""
        return torch.empty(shape, device=self._device, dtype=self._kind).normal_(std=shape[1] ** -0.5)

    @staticmethod
    def _blank(shape: Shape, device: str) -> tuple[torch.Tensor, ...]:
        """Padding alone."""
        grid = (shape.batch, shape.new)
        seen = torch.zeros((*grid, shape.span), dtype=torch.bool, device=device)
        seen[:, :, 0] = True
        return (
            torch.zeros(grid, dtype=torch.long, device=device),
            torch.zeros(grid, dtype=torch.long, device=device),
            torch.full((shape.new,), shape.span - 1, device=device),
            seen,
            torch.zeros(shape.rows, dtype=torch.long, device=device),
        )

    def _forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (R, V) of the rows asked for, and their likeliest tokens (R,)."""
        shape, (ids, positions, slots, seen, rows) = inputs.shape, inputs.tensors
        batch, new, sizes = shape.batch, shape.new, self.sizes
        cos, sin = (table[positions][:, :, None, None] for table in (self._cos, self._sin))
        bias = torch.zeros(seen.shape, device=seen.device, dtype=self._kind)
        bias = bias.masked_fill_(~seen, float("-inf"))[:, None].expand(-1, sizes.heads, -1, -1)
        half = cos.shape[-1] // 2
        hidden = self._embedding[ids]
        for layer, cache in zip(self._layers, self._cache, strict=True):
            qkv = functional.linear(self._normed(hidden), layer["qkv"]).view(batch, new, 3, sizes.heads, -1)
            turned = torch.addcmul(qkv[:, :, :2] * cos, qkv[:, :, :2].roll(half, -1), sin)
            query, key, value = turned[:, :, 0], turned[:, :, 1], qkv[:, :, 2]
            keys, values = cache[:, :batch, :, : shape.span]
            keys.index_copy_(2, slots, key.transpose(1, 2))
            values.index_copy_(2, slots, value.transpose(1, 2))
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), keys, values, attn_mask=bias
            )
            hidden = hidden + functional.linear(mixed.transpose(1, 2).reshape(batch, new, -1), layer["out"])
            gate, up = functional.linear(self._normed(hidden), layer["gate_up"]).chunk(2, -1)
            hidden = hidden + functional.linear(functional.silu(gate) * up, layer["down"])
        logits = functional.linear(self._normed(hidden).view(batch * new, -1)[rows], self._head)
        return logits, logits.argmax(-1)

    def _normed(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(hidden, self._norm.shape, self._norm, 1e-6)


def tree_error(model: Model, *, graph: bool) -> float:
    """How far a pass of branches under a tree mask is from reading every path of the tree on its own.

    A text is read first; then, in one pass behind it, branches and behind those two continuations each.

    Returns:
        The greatest difference of any logit.
    """
    text, total = 12, 12 + 20
    # Three branches of 3, 4 and 5 tokens at the text's end; behind the first and the last two ends each.
    chains = ((11, 3), (11, 4), (11, 5), (14, 2), (14, 1), (23, 3), (23, 2))
    parents = list(range(-1, text - 1))
    for parent, length in chains:
        parents += [parent, *range(len(parents), len(parents) + length - 1)]
    paths: list[list[int]] = []
    for token, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), token])
    seen = torch.zeros((total, total), dtype=torch.bool)
    for token, path in enumerate(paths):
        seen[token, path] = True
    ids = torch.randint(model.sizes.vocabulary, (total,))
    positions = torch.tensor([len(path) - 1 for path in paths])

    def logits(tokens: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
        feed = Feed(ids[tokens][None], positions[tokens][None], mask[None], torch.arange(len(tokens)))
        inputs = model.padded(feed)
        if graph:
            model.prepare(inputs.shape)
        return model.run(inputs, graph=graph)[1][: len(tokens)].clone()

    first = logits(range(text), seen[:text, :text])
    together = torch.cat((first, logits(range(text, total), seen[text:])))
    return max(
        (logits(path, torch.ones((len(path),) * 2, dtype=torch.bool).tril()) - together[path])
        .abs()
        .max()
        .item()
        for path in paths
    )


def _up(count: int, steps: tuple[int, ...]) -> int:
    """The next step, or the next multiple of the last gap behind them."""
    gap = [after - before for before, after in pairwise(steps)][-1]
    beyond = steps[-1] + -(-(count - steps[-1]) // gap) * gap
    return next((step for step in steps if step >= count), beyond)

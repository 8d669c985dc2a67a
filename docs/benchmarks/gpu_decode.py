# ruff: noqa: T201, INP001, PLC0415 - a script beside its figures; recording has no torch, replaying nothing else
"""Milliseconds a document on a GPU: a Llama-shaped model of 7B random weights replays the engine's passes.

What a pass costs depends on its shape alone: new tokens, tokens looked back at, rows of logits. So the shapes
of all passes are recorded from the engine, with gold answers forced, and replayed with static shapes (a CUDA
graph for each). Between two passes the host waits for the chosen tokens, as a decoder must.

    python docs/benchmarks/gpu_decode.py record --data dev.jsonl.gz --model MODEL_FOLDER > shapes.json
    python docs/benchmarks/gpu_decode.py replay shapes.json              # needs torch and a GPU of 20 GB
    python docs/benchmarks/gpu_decode.py replay shapes.json --device cpu --tiny      # tries the script

A document is stages, one after the other; a stage is sequences, each on a device of its own, of which the
longest counts; a sequence is passes (rows of a batch, new tokens, past tokens, rows of logits).
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

LAYERS, HIDDEN, HEADS, INNER, VOCABULARY = 32, 4096, 32, 11_008, 32_000
TINY = (2, 64, 4, 128, 500)
BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PAST_BUCKET = 64


def main() -> None:
    """Record or replay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--data", type=Path, required=True)
    recording.add_argument("--model", type=Path, required=True)
    recording.add_argument("--limit", type=int, default=200)
    recording.set_defaults(run=lambda given: asyncio.run(record(given.data, given.model, given.limit)))
    replaying = commands.add_parser("replay")
    replaying.add_argument("shapes", type=Path)
    replaying.add_argument("--device", default="cuda")
    replaying.add_argument("--tiny", action="store_true", help="a model of nothing, to try the script")
    replaying.set_defaults(run=lambda given: replay(given.shapes, given.device, tiny=given.tiny))
    given = parser.parse_args()
    given.run(given)


async def record(data: Path, model: Path, limit: int) -> None:
    """Print the shapes of every strategy's passes as JSON."""
    from stream.corpora.document import label_inventory
    from stream.corpora.jsonl import read_documents
    from stream.evaluation.gold import CaseMaker
    from stream.evaluation.padded_batch import PaddedBatch
    from stream.evaluation.strategies import FLOOR, GOLD, NAMES, OWN_ANSWERS, Opener
    from stream.ner.template import PromptTemplate

    template, passes = PromptTemplate.load(model), []
    maker = CaseMaker(template, label_inventory(read_documents(data)))
    cases = maker.cases(islice(read_documents(data), limit))
    opener = Opener(model, template, 1, PaddedBatch.load(model), on_pass=passes.append)
    shapes = {"padellm_script": list(map(script, cases)), "padellm_multi": list(map(multi, cases))}
    for name in (FLOOR, *NAMES):
        if name in shapes:
            continue
        strategy = opener.open(name + GOLD if name in OWN_ANSWERS else name)
        shapes[name] = []
        for case in cases:
            passes.clear()
            await strategy.decode(case)
            rows = [(1, each.tokens, each.past, len(each.sequences) + drafted(each)) for each in passes]
            shapes[name].append([[rows]])
        await strategy.close()
        print(name, len(cases), "documents", file=sys.stderr)
    json.dump({"data": data.parent.name, "strategies": shapes}, sys.stdout)


def drafted(trace) -> int:  # noqa: ANN001 - a stream.engine.trace.PassTrace, which replaying does not need
    """Drafted tokens of a pass; each has a row of logits."""
    return sum(len(draft) for draft in {id(one.draft): one.draft or () for one in trace.sequences}.values())


def script(case) -> list:  # noqa: ANN001 - a stream.evaluation.gold.Case
    """One device, all prompts in a padded batch, counts before mentions."""
    return [[lock_step(rows)] for rows in stages(case) if rows]


def multi(case) -> list:  # noqa: ANN001
    """A device for every prompt."""
    return [[lock_step([row]) for row in rows] for rows in stages(case) if rows]


def stages(case) -> tuple[list, list]:  # noqa: ANN001
    """Counts, then mentions."""
    counts = [label.count for label in case.labels]
    return counts, [mention for label in case.labels for mention in label.mentions]


def lock_step(rows: list) -> list[tuple[int, int, int, int]]:
    """Passes of a padded batch until its longest row is done."""
    width, count = max(len(row.prompt.ids) for row in rows), len(rows)
    later = [(count, 1, width + step, count) for step in range(max(row.steps for row in rows) - 1)]
    return [(count, width, 0, count), *later]


def replay(file: Path, device: str, *, tiny: bool) -> None:
    """Print milliseconds a document for every strategy."""
    recorded = json.loads(file.read_text())
    model = Model(device, TINY if tiny else (LAYERS, HIDDEN, HEADS, INNER, VOCABULARY))
    strategies = recorded["strategies"]
    for shape in sorted({bucketed(one) for each in strategies.values() for one in all_passes(each)}):
        model.prepare(shape)
    times: dict[str, list[float]] = {name: [] for name in strategies}
    for index in range(len(strategies["floor"])):
        for name, documents in strategies.items():
            times[name].append(1000 * sum(slowest(model, stage) for stage in documents[index]))
    print(f"{recorded['data']}, {len(times['floor'])} documents, {model.name}")
    print(f"{'strategy':18}{'passes':>8}{'ms mean':>10}{'p50':>8}{'p95':>8}{'/ floor':>9}")
    floor = statistics.mean(times["floor"])
    for name, each in times.items():
        passes = statistics.mean(
            sum(max(map(len, stage)) for stage in document) for document in strategies[name]
        )
        mean, (p50, p95) = statistics.mean(each), percentiles(each)
        print(f"{name:18}{passes:8.2f}{mean:10.2f}{p50:8.2f}{p95:8.2f}{mean / floor:9.2f}")


def slowest(model: "Model", stage: list) -> float:
    """Seconds of the sequence of a stage that takes longest."""
    return max(sum(model.run(bucketed(shape)) for shape in sequence) for sequence in stage)


def all_passes(documents: list) -> list:
    """Every pass of every document."""
    return [one for document in documents for stage in document for sequence in stage for one in sequence]


def bucketed(shape: list[int]) -> tuple[int, int, int, int]:
    """The static shape that a pass is padded to."""
    batch, new, past, rows = shape
    return batch, up(new), -(-past // PAST_BUCKET) * PAST_BUCKET, up(rows)


def up(count: int) -> int:
    """The bucket that holds so many."""
    return next((bucket for bucket in BUCKETS if bucket >= count), -(-count // 512) * 512)


def percentiles(values: list[float]) -> tuple[float, float]:
    """The 50th and 95th."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94]


class Model:
    """Llama's layers with random weights: norms, rotation, attention under a mask, gated MLP, head."""

    def __init__(self, device: str, sizes: tuple[int, int, int, int, int]) -> None:
        import torch

        self.torch, self.device = torch, device
        layers, hidden, heads, inner, vocabulary = sizes
        self.kind = torch.bfloat16 if device == "cuda" else torch.float32
        shapes = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden)}
        shapes |= {"gate_up": (2 * inner, hidden), "down": (hidden, inner)}
        self.layers = [{name: self.random(shape) for name, shape in shapes.items()} for _ in range(layers)]
        self.embedding, self.head = self.random((vocabulary, hidden)), self.random((vocabulary, hidden))
        self.heads, self.width, self.graphs = heads, hidden // heads, {}
        angles = torch.outer(
            torch.arange(8192, device=device),
            10_000.0 ** (-torch.arange(0, self.width, 2, device=device) / self.width),
        )
        self.cos, self.sin = angles.cos().to(self.kind), angles.sin().to(self.kind)
        count = (
            sum(weight.numel() for layer in self.layers for weight in layer.values()) + 2 * self.head.numel()
        )
        where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        self.name = f"{count / 1e9:.2f}B random weights, {self.kind}, {where}, torch {torch.__version__}"

    def random(self, shape: tuple[int, int]):  # noqa: ANN201 - a torch.Tensor
        """Weights that keep activations finite."""
        return self.torch.randn(shape, device=self.device, dtype=self.kind) * shape[1] ** -0.5

    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Warm a shape up, and capture its graph."""
        torch, inputs = self.torch, self.inputs(shape)
        with torch.inference_mode():
            for _ in range(3):
                self.forward(shape, *inputs)
            if self.device != "cuda":
                self.graphs[shape] = lambda: self.forward(shape, *inputs)
                return
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            pool = next((each.pool() for each, _ in self.captured()), None)
            with torch.cuda.graph(graph, pool=pool):
                tokens = self.forward(shape, *inputs)
        self.graphs[shape] = (graph, tokens)

    def captured(self) -> list:
        """Graphs so far; they share the memory of their intermediate results."""
        return list(self.graphs.values())

    def run(self, shape: tuple[int, int, int, int]) -> float:
        """Seconds of one pass, until the host knows the chosen tokens."""
        began = time.perf_counter()
        if self.device == "cuda":
            graph, tokens = self.graphs[shape]
            graph.replay()
            tokens.tolist()
        else:
            with self.torch.inference_mode():
                self.graphs[shape]().tolist()
        return time.perf_counter() - began

    def inputs(self, shape: tuple[int, int, int, int]) -> tuple:
        """Ids, positions, mask, and keys and values, which all layers may share: only the size counts."""
        torch, (batch, new, past, _) = self.torch, shape
        ids = torch.zeros((batch, new), dtype=torch.long, device=self.device)
        positions = torch.arange(past, past + new, device=self.device)
        seen = torch.ones((new, past + new), dtype=torch.bool, device=self.device).tril(past)
        cache = torch.zeros(
            (2, batch, self.heads, past + new, self.width), dtype=self.kind, device=self.device
        )
        return ids, positions, seen, cache

    def forward(self, shape, ids, positions, seen, cache):  # noqa: ANN001, ANN201 - tensors
        """One pass.

        Returns:
            The likeliest token of every row asked for.
        """
        functional = self.torch.nn.functional
        batch, new, past, rows = shape
        hidden = self.embedding[ids]
        for layer in self.layers:
            normed = functional.rms_norm(hidden, hidden.shape[-1:])
            qkv = (normed @ layer["qkv"].T).view(batch, new, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
            query, key = self.rotate(qkv[0], positions), self.rotate(qkv[1], positions)
            cache[0, :, :, past:], cache[1, :, :, past:] = key, qkv[2]
            mixed = functional.scaled_dot_product_attention(query, cache[0], cache[1], attn_mask=seen)
            hidden = hidden + mixed.transpose(1, 2).reshape(batch, new, -1) @ layer["out"].T
            normed = functional.rms_norm(hidden, hidden.shape[-1:])
            gate, up_ = (normed @ layer["gate_up"].T).chunk(2, dim=-1)
            hidden = hidden + (functional.silu(gate) * up_) @ layer["down"].T
        last = functional.rms_norm(hidden, hidden.shape[-1:]).reshape(batch * new, -1)[-rows:]
        return (last @ self.head.T).argmax(-1)

    def rotate(self, vectors, positions):  # noqa: ANN001, ANN201 - tensors
        """Rotary positions."""
        first, second = vectors.chunk(2, dim=-1)
        cos, sin = self.cos[positions], self.sin[positions]
        return self.torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


if __name__ == "__main__":
    main()

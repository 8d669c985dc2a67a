# ruff: noqa: T201, INP001 - a script beside its figures
r"""Milliseconds a document on a GPU: a Llama-shaped model of 7B random weights replays the engine's passes.

    python docs/benchmarks/gpu_decode.py --budget-seconds 70 --output gpu_decode.json
    python docs/benchmarks/gpu_decode.py --device cpu --layers 2 --hidden 64 --heads 4 \
        --inner 128 --vocabulary 500                  # tries the script

Needs torch alone, and a GPU of 24 GB. The passes, with gold answers forced, are in decode_passes.json;
decode_passes.py says how they were recorded. Lengths are tokens of the bundled model's tokenizer (7,000
entries, 1.6 tokens a word of these sets), as they are. Each pass is padded to a static shape. Its time is the
wall clock's from handing over ids, positions and mask until the host knows the likeliest tokens, as a decoder
must between two passes; a document's is the sum of its passes. Of sequences with a device each
(padellm_multi) the longest counts. Documents of the sets take turns, all strategies of a document one after
the other, beginning with another one each time; the first document of each set is also decoded once before,
untimed. When the time is up the rest is left out; how many were timed is stated.

CUDA graphs, captured before they are timed, come first; the last part of the time is for the same documents
without, where the host starts every kernel. Before all that a tiny model shows that branches under a tree
mask get the logits they get alone.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

_BEGAN = time.perf_counter()

import torch  # noqa: E402 - its import counts towards the budget
from llama_passes import Feed, Inputs, Model, Sizes, tree_error  # noqa: E402

TRACES = Path(__file__).with_name("decode_passes.json")

# arXiv 2402.04838: milliseconds a document of its 7B model on an A100.
PAPER = {
    "padellm-conll03": {
        "padellm_script": 333.9,
        "padellm_multi": 229.74,
        "onestep": 272.22,
        "autoreg_struct": 753.36,
        "autoreg_aug": 992.70,
    },
    "padellm-genia": {
        "padellm_multi": 316.90,
        "onestep": 513.56,
        "autoreg_struct": 1266.34,
        "autoreg_aug": 1515.35,
    },
}

TINY = Sizes(layers=2, hidden=64, heads=4, inner=128, vocabulary=500)
TREE_TOLERANCE = 1e-3
EAGER_SHARE = 0.2

Decode = list[list[list[Inputs]]]
"""A document's stages, of sequences, of passes."""

Times = dict[tuple[str, str, str], list[tuple[float, int]]]
"""By launch, set and strategy: milliseconds and passes of each document."""


def main() -> None:
    """Check, replay, print a table and, last, one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--launch", default="both", choices=["both", "graphs", "eager"])
    parser.add_argument("--budget-seconds", type=float, default=70)
    parser.add_argument("--output", type=Path, help="the JSON object, also as a file")
    for name, size in asdict(Sizes(32, 4096, 32, 11_008, 32_000)).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU that torch can use; try --device cpu with a tiny model, as above")
    sets = json.loads(given.traces.read_text())["sets"]
    sizes = Sizes(given.layers, given.hidden, given.heads, given.inner, given.vocabulary)
    with torch.inference_mode():
        report = measured(sets, sizes, given.device, given.launch, given.budget_seconds)
    line = json.dumps(report)
    if given.output:
        given.output.write_text(line + "\n")
    print(line)


def measured(sets: dict, sizes: Sizes, device: str, launch: str, budget: float) -> dict:
    """Replay all documents that there is time for.

    Returns:
        The figures, and what they were measured on.
    """
    torch.manual_seed(1)
    launches, problem = checked_launches(device, launch)
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    passes = [one for name in sets for decodes in sets[name]["strategies"].values() for one in runs(decodes)]
    most = max(run[0] for run in passes), max(run[2] + run[1] * run[4] for run in passes)
    model = Model(sizes, device, kind, most)
    _synchronize(device)
    print(f"model made {elapsed():.1f} s after the start", file=sys.stderr)
    times: Times = defaultdict(list)
    for name in launches:
        share = 1 - EAGER_SHARE if name != launches[-1] else 1
        replay(model, sets, name, elapsed() + (budget - elapsed()) * share, times)
        print(f"{name} done after {elapsed():.1f} s, {model.graphs} graphs", file=sys.stderr)
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    report = {
        "device": where,
        "torch": torch.__version__,
        "dtype": str(kind).removeprefix("torch."),
        "parameters": model.parameters,
        "weights_gb": round(model.parameters * kind.itemsize / 1e9, 2),
        "graphs": model.graphs,
        "graphs_problem": problem,
        "seconds": round(elapsed(), 1),
        "launches": {
            name: {key: figures(times, name, key, list(sets[key]["strategies"])) for key in sets}
            for name in launches
        },
    }
    print(
        f"{model.parameters / 1e9:.2f}B random weights, {report['dtype']}, {where}, torch {torch.__version__}"
    )
    for name, by_set in report["launches"].items():
        for key, rows in by_set.items():
            print_table(f"{key}, {name}, {rows.get('floor', {}).get('documents', 0)} documents", rows)
    return report


def checked_launches(device: str, launch: str) -> tuple[list[str], str | None]:
    """The ways of launching that work here, best first, each tried with a tree; why one does not."""
    wanted = ["eager"] if device == "cpu" else ["graphs", "eager"] if launch == "both" else [launch]
    problem = None
    for name in tuple(wanted):
        try:
            error = tree_error(Model(TINY, device, torch.float32, (1, 64)), graph=name == "graphs")
        except RuntimeError as failure:
            if name != "graphs":
                raise
            wanted, problem = ["eager"], str(failure)
            print(f"no CUDA graphs here, so without: {failure}", file=sys.stderr)
            continue
        if not error <= TREE_TOLERANCE:
            raise SystemExit(
                f"{name}: under a tree mask logits are {error:.2g} from those of single sequences"
            )
        print(f"{name}: logits under a tree mask within {error:.1g} of single sequences", file=sys.stderr)
    return wanted, problem


def replay(model: Model, sets: dict, launch: str, until: float, times: Times) -> None:
    """Decode documents in turns until the time is up, as far as the longest turn so far can tell."""
    longest = 0.0
    for turn, (key, index) in enumerate(turns(sets)):
        if elapsed() + longest > until:
            return
        strategies = sets[key]["strategies"]
        decodes = {name: padded(model, each[index]["stages"]) for name, each in strategies.items()}
        if launch == "graphs":
            for decode in decodes.values():
                for one in passes_of(decode):
                    model.prepare(one.shape)
        if turn < len(sets):
            for decode in decodes.values():
                decoded(model, decode, launch)
        names, began = list(decodes), elapsed()
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds, passes = decoded(model, decodes[name], launch)
            if passes != strategies[name][index]["passes"]:
                raise SystemExit(
                    f"{key}, document {index}, {name}: {passes} passes replayed, "
                    f"{strategies[name][index]['passes']} recorded; record them again"
                )
            times[launch, key, name].append((1000 * seconds, passes))
        longest = max(longest, elapsed() - began)


def turns(sets: dict) -> Iterator[tuple[str, int]]:
    """Sets in turns, and their documents so that the first few are spread over the set."""
    count = min(len(each["words"]) for each in sets.values())
    for index in sorted(range(count), key=lambda index: index * (math.sqrt(5) - 1) / 2 % 1):
        for key in sets:
            yield key, index


def padded(model: Model, stages: list) -> Decode:
    """A document's passes; of sequences with the same static shapes, which take the same time, one."""
    decode = []
    for stage in stages:
        sequences = [
            [
                model.padded(Feed.causal(batch, new, past + new * step, rows, model.sizes.vocabulary))
                for batch, new, past, rows, times in sequence
                for step in range(times)
            ]
            for sequence in stage
        ]
        decode.append(list({tuple(one.shape for one in each): each for each in sequences}.values()))
    return decode


def passes_of(decode: Decode) -> Iterator[Inputs]:
    """Every pass."""
    return (one for stage in decode for sequence in stage for one in sequence)


def decoded(model: Model, decode: Decode, launch: str) -> tuple[float, int]:
    """Seconds of a document, and passes one after the other; of a stage the longest sequence counts."""
    seconds, passes = 0.0, 0
    for stage in decode:
        longest, most = 0.0, 0
        for sequence in stage:
            before, began = model.passes, time.perf_counter()
            for one in sequence:
                model.run(one, graph=launch == "graphs")
            longest = max(longest, time.perf_counter() - began)
            most = max(most, model.passes - before)
        seconds, passes = seconds + longest, passes + most
    return seconds, passes


def runs(decodes: list) -> Iterator[list[int]]:
    """Every run of passes, as recorded."""
    return (run for each in decodes for stage in each["stages"] for sequence in stage for run in sequence)


def figures(times: Times, launch: str, key: str, strategies: list[str]) -> dict[str, dict]:
    """By strategy what the table shows."""
    rows = {}
    for name in strategies:
        if not times[launch, key, name]:
            continue
        milliseconds, passes = zip(*times[launch, key, name], strict=True)
        ordered, mean = sorted(milliseconds), statistics.mean(milliseconds)
        rows[name] = {
            "documents": len(ordered),
            "passes_mean": round(statistics.mean(passes), 2),
            "ms_mean": round(mean, 2),
            "ms_p50": round(statistics.median(ordered), 2),
            "ms_p95": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 2),
            "ms_per_pass": round(sum(milliseconds) / sum(passes), 3),
            "paper_ms": PAPER.get(key, {}).get(name),
        }
    return rows


def print_table(title: str, rows: dict[str, dict]) -> None:
    """One set under one launch, with times as multiples of padellm's."""
    print(f"\n{title}")
    print(
        f"{'strategy':18}{'passes':>8}{'ms':>9}{'p50':>9}{'p95':>9}"
        f"{'ms/pass':>9}{'/padellm':>10}{'paper ms':>10}"
    )
    for name, row in rows.items():
        print(
            f"{name:18}{row['passes_mean']:8.2f}{row['ms_mean']:9.2f}{row['ms_p50']:9.2f}{row['ms_p95']:9.2f}"
            f"{row['ms_per_pass']:9.2f}{row['ms_mean'] / rows['padellm']['ms_mean']:10.2f}"
            f"{row['paper_ms'] or '-':>10}"
        )


def elapsed() -> float:
    """Seconds since the start."""
    return time.perf_counter() - _BEGAN


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

# ruff: noqa: INP001 - a script beside its figures
r"""Record the shapes of every strategy's forward passes, for ``gpu_decode.py`` to replay elsewhere.

What a pass costs depends on its shape alone: rows of a batch, new tokens, tokens looked back at, rows of
logits. Gold answers are forced. Drafts come from the text and from the answers before, those of the documents
recorded here; the passes are the engine's own, so nothing about a strategy is written twice.

    cd docs/benchmarks
    python decode_passes.py --model ../../triton_models/checkpoints/padellm-small-en > decode_passes.json \
        --data padellm-conll03/dev.jsonl.gz --data padellm-genia/dev.jsonl.gz

Printed: for every set, named by its folder, the texts' lengths, and for every strategy and document the
number of passes as the strategy counts them, and its stages. Stages follow each other; a stage is sequences,
each on a device of its own, of which the longest counts; a sequence is runs of passes, ``[batch, new, past,
rows, times]``: ``times`` passes of one shape, each looking back at ``new`` tokens more than the one before.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from stream.bench.cases import Case, CaseMaker, Forced
from stream.bench.strategies import FLOOR, GOLD, OWN_ANSWERS, Opener
from stream.corpora.document import label_inventory
from stream.corpora.jsonl import read_documents
from stream.engine.model.session import Model
from stream.engine.trace import PassTrace
from stream.ner.template import PromptTemplate

STRATEGIES = (
    FLOOR,
    "padellm",
    "padellm_no_drafts",
    "padellm_script",
    "padellm_multi",
    "onestep",
    "autoreg_struct",
    "autoreg_aug",
)

Pass = tuple[int, int, int, int]
"""Rows of the batch, new tokens of each, tokens looked back at, rows of logits."""

Run = list[int]


def main() -> None:
    """Record and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, action="append", help="may be given several times"
    )
    parser.add_argument("--model", type=Path, required=True, help="whose tokenizer and prompts are used")
    parser.add_argument("--documents", type=int, default=40, help="of each set, evenly spread over it")
    given = parser.parse_args()
    sets = {
        data.parent.name: asyncio.run(recorded(data, given.model, given.documents)) for data in given.data
    }
    json.dump({"tokenizer": given.model.name, "sets": sets}, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


async def recorded(data: Path, model: Path, limit: int) -> dict[str, object]:
    """The passes of a set's documents under every strategy."""
    documents = list(read_documents(data))
    labels = label_inventory(documents)
    documents = documents[:: max(1, len(documents) // limit)][:limit]
    template, passes = PromptTemplate.load(model), list[PassTrace]()
    cases = CaseMaker(template, labels).cases(documents)
    opener = Opener(Model.load(model, threads=1), template, on_pass=passes.append)
    strategies: dict[str, list[object]] = {}
    for name in STRATEGIES:
        strategy = opener.open(name + GOLD if name in OWN_ANSWERS else name)
        decodes = strategies[name] = []
        for case in cases:
            before = strategy.totals()
            passes.clear()
            await strategy.decode(case)
            stages = _in_batches(name, case) or [[[_shape(each) for each in passes]]]
            decodes.append(
                {
                    "passes": (strategy.totals() - before).passes,
                    "stages": [[_runs(sequence) for sequence in stage] for stage in stages],
                }
            )
        await strategy.close()
    return {
        "labels": len(labels),
        "words": [len(document.text.split()) for document in documents],
        "tokens": [case.text_tokens for case in cases],
        "strategies": strategies,
    }


def _shape(trace: PassTrace) -> Pass:
    """A pass of the engine; every drafted token has a row of logits."""
    drafts = {id(one.draft): one.draft for one in trace.sequences if one.draft is not None}
    return 1, trace.tokens, trace.past, len(trace.sequences) + sum(map(len, drafts.values()))


def _in_batches(name: str, case: Case) -> list[list[list[Pass]]] | None:
    """The stages of a strategy that the padded batch decodes, counts before mentions; None for others."""
    counts = [label.count for label in case.labels]
    stages = [counts, [mention for label in case.labels for mention in label.mentions]]
    if name == "padellm_script":
        return [[_lock_step(rows)] for rows in stages if rows]
    if name == "padellm_multi":
        return [[_lock_step([row]) for row in rows] for rows in stages if rows]
    return None


def _lock_step(rows: list[Forced]) -> list[Pass]:
    """Passes of a padded batch until its longest row is done."""
    width, count = max(len(row.prompt.ids) for row in rows), len(rows)
    later = [(count, 1, width + step, count) for step in range(max(row.steps for row in rows) - 1)]
    return [(count, width, 0, count), *later]


def _runs(passes: list[Pass]) -> list[Run]:
    """Passes as runs."""
    runs: list[Run] = []
    for batch, new, past, rows in passes:
        if runs and [batch, new, past - new * runs[-1][4], rows] == runs[-1][:4]:
            runs[-1][4] += 1
        else:
            runs.append([batch, new, past, rows, 1])
    return runs


if __name__ == "__main__":
    main()

"""``padellm bench decode``: documents in, figures and tables out."""

import sys
from collections.abc import Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream.aio import all_of
from stream.api import open_model
from stream.bench.cases import CaseMaker
from stream.bench.measurement import (
    Measured,
    ModelArithmetic,
    Workload,
    agreement,
    documents_to_decode,
    machine_rate,
    measure,
)
from stream.bench.strategies import FLOOR, GOLD, GREEDY, LUD, NAMES, OWN_ANSWERS, Opener
from stream.contract.messages import Document
from stream.corpora.document import AnnotatedDocument, GoldEntity, label_inventory
from stream.corpora.jsonl import read_documents
from stream.engine.model.checkpoint import Checkpoint
from stream.engine.model.session import Model
from stream.errors import ConfigurationError
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

_WARM_UP = 8
_REFERENCE = "autoreg_struct"


def chosen_names(chosen: Sequence[str] | None, *, forced: bool) -> list[str]:
    """The strategies to open for those that were asked for.

    Raises:
        ConfigurationError: There is no such strategy.
    """
    names = list(dict.fromkeys(chosen or NAMES))
    if unknown := [name for name in names if name not in NAMES]:
        raise ConfigurationError(f"there is no strategy {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if forced:
        if LUD in (chosen or ()):
            raise ConfigurationError(
                f"{LUD} differs from the others in its answers alone: leave --forced away"
            )
        return [name + GOLD if name in OWN_ANSWERS else name for name in names if name != LUD]
    if LUD in names and GREEDY not in names:
        names.insert(names.index(LUD), GREEDY)
    if "padellm" in names:
        names.insert(names.index("padellm") + 1, "padellm" + GOLD)
    return names


async def run(
    names: Sequence[str], *, data: Path | None, model: Path | None, limit: int, at_once: int
) -> tuple[dict[str, Measured], Path]:
    """Measure strategies, and the floor with them.

    Args:
        names: From ``chosen_names``.
        data: Annotated documents; None: the samples, with the model's own answers for gold.
        model: Model folder; None: the settings' one.
        limit: Documents decoded one by one.
        at_once: Most documents decoded many at once.

    Returns:
        Figures by strategy, and the folder of the model they are of.

    Raises:
        ConfigurationError: The data cannot be read, or holds too little.
        CheckpointError: The folder holds no model that can be served.
    """
    wanted = _WARM_UP + max(limit, at_once)
    async with open_model(model) as opened:
        folder = opened.folder
        if data is None:
            documents = await _samples_as_read(opened.extractor, wanted)
            labels = label_inventory(documents)
        else:
            documents = list(islice(read_documents(data), wanted))
            labels = label_inventory(read_documents(data))
    template = PromptTemplate.load(folder)
    cases = CaseMaker(template, labels).cases(documents)
    warm_up = min(_WARM_UP, len(cases) // 2)
    if not labels or not warm_up:
        raise ConfigurationError(f"{data or 'the samples'}: too few documents with entities to measure on")
    workload = Workload(cases[warm_up:][:limit], cases[warm_up:][:at_once], cases[:warm_up])
    settings = Settings()
    opener = Opener(Model.load(folder, threads=settings.engine_threads, int8=settings.int8), template)
    names = [FLOOR, *names]
    columns = (TextColumn("documents"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("documents", total=len(names) * documents_to_decode(workload))
        measured = await measure(names, opener.open, workload, on_document=lambda: progress.advance(task))
        return measured, folder


async def _samples_as_read(extractor: Extractor, most: int) -> list[AnnotatedDocument]:
    """The sample documents, annotated with what the model finds in them."""
    lines = (files("stream.local") / "samples" / "documents.jsonl").read_text("utf-8").splitlines()
    documents = [Document.model_validate_json(line) for line in lines[:most]]
    found = await all_of(map(extractor.extract, documents))
    return [
        AnnotatedDocument(
            text=document.text,
            entities=[
                GoldEntity(start=one.start, end=one.end, text=one.text, label=one.label)
                for one in each.entities
            ],
        )
        for document, each in zip(documents, found, strict=True)
    ]


def summary(measured: dict[str, Measured]) -> dict[str, Any]:
    """What ``--json`` prints; a strategy that ran with gold answers too has their figures under ``gold``."""
    strategies = {
        name.removesuffix(GOLD): each.as_dict()
        for name, each in measured.items()
        if name != FLOOR and (not name.endswith(GOLD) or name.removesuffix(GOLD) not in measured)
    }
    for name, each in measured.items():
        if name.endswith(GOLD) and name.removesuffix(GOLD) in measured:
            strategies[name.removesuffix(GOLD)]["gold"] = each.as_dict()
    if LUD in measured:
        strategies[LUD] |= {
            "lossless": False,
            "agreement": round(100 * agreement(measured[LUD], measured[GREEDY]), 2),
            "f1": round(100 * measured[LUD].score.f1, 2),
            "f1_greedy": round(100 * measured[GREEDY].score.f1, 2),
        }
    return {"floor_ms": measured[FLOOR].as_dict()["ms_mean"], "strategies": strategies}


def show(measured: dict[str, Measured], folder: Path) -> None:
    """Tables for people, on stdout.

    Args:
        measured: From ``run``.
        folder: The model's.
    """
    console = Console(width=None if sys.stdout.isatty() else 110)
    documents = len(measured[FLOOR].ms)
    console.print(f"{documents} documents, one at a time, each through all strategies in turn\n")
    tables = [_latencies(measured), _rates(measured), _tokens(measured), _parts(measured)]
    tables.append(_useful_work(measured, folder))
    if any(each.totals.drafted for each in measured.values()):
        tables.append(_drafters(measured))
    if LUD in measured:
        tables.append(_lossy(measured))
    for table in tables:
        console.print(table)
        console.print()


def _latencies(measured: dict[str, Measured]) -> Table:
    """Passes and milliseconds a document: multiples of the floor, and how much worse the reference is."""
    columns = ["passes", "p95", "ms", "p50", "p95", "of floor"]
    table = _table("Latency", *columns, f"{_REFERENCE} passes /", "ms /")
    floor, reference = _mean_ms(measured[FLOOR]), measured.get(_REFERENCE)
    for name, each in measured.items():
        figures = each.as_dict()
        table.add_row(
            _shown(name),
            f"{figures['passes_mean']:.2f}",
            f"{figures['passes_p95']:.0f}",
            f"{figures['ms_mean']:.2f}",
            f"{figures['ms_p50']:.2f}",
            f"{figures['ms_p95']:.2f}",
            f"{_mean_ms(each) / floor:.2f}",
            f"{np.mean(reference.passes) / np.mean(each.passes):.2f}" if reference else "-",
            f"{_mean_ms(reference) / _mean_ms(each):.2f}" if reference else "-",
        )
    return table


def _rates(measured: dict[str, Measured]) -> Table:
    levels = list(measured[FLOOR].documents_per_second)
    reference = measured.get(_REFERENCE)
    table = _table("Documents/s, in flight:", *map(str, levels), f"/ {_REFERENCE} @{levels[-1]}")
    for name, each in measured.items():
        rates = each.documents_per_second
        ratio = rates[levels[-1]] / reference.documents_per_second[levels[-1]] if reference else None
        table.add_row(
            _shown(name),
            *(f"{rates[level]:.1f}" for level in levels),
            "-" if ratio is None else f"{ratio:.2f}",
        )
    return table


def _tokens(measured: dict[str, Measured]) -> Table:
    table = _table("Tokens a document", "read", "drafted", "accepted", "produced")
    for name, each in measured.items():
        totals = each.totals
        counts = (totals.read, sum(totals.drafted.values()), sum(totals.accepted.values()), totals.produced)
        table.add_row(_shown(name), *(f"{count / len(each.ms):.1f}" for count in counts))
    return table


def _parts(measured: dict[str, Measured]) -> Table:
    """What a pass costs, by part; and what a document costs between its passes."""
    parts = list(measured[FLOOR].totals.seconds)
    table = _table("Milliseconds of a pass", *parts, "a document between passes")
    for name, each in measured.items():
        totals = each.totals
        if totals.seconds:
            between = _mean_ms(each) - 1000 * sum(totals.seconds.values()) / len(each.ms)
            spent = (f"{1000 * totals.seconds[part] / totals.passes:.3f}" for part in parts)
            table.add_row(_shown(name), *spent, f"{between:.2f}")
    return table


def _useful_work(measured: dict[str, Measured], folder: Path) -> Table:
    """Matrix products that answers needed, as a share of what the machine does when it does nothing else."""
    model, machine = ModelArithmetic.of(Checkpoint.open(folder).weights()), machine_rate()
    level = max(measured[FLOOR].documents_per_second)
    table = _table(f"Useful work at {level} in flight", "MFLOP a document", f"of {machine / 1e9:.0f} GFLOP/s")
    for name, each in measured.items():
        document = model.useful(each.totals) / len(each.ms)
        if each.totals.seconds:
            share = document * each.documents_per_second[level] / machine
            table.add_row(_shown(name), f"{document / 1e6:.0f}", f"{100 * share:.1f}%")
    return table


def _mean_ms(measured: Measured) -> float:
    return float(np.mean(measured.ms))


def _drafters(measured: dict[str, Measured]) -> Table:
    table = _table("Drafter", "strategy", "drafted", "accepted", "share")
    for name, each in measured.items():
        for drafter, drafted in sorted(each.totals.drafted.items()):
            accepted = each.totals.accepted.get(drafter, 0)
            share = f"{100 * accepted / drafted:.1f}%" if drafted else "-"
            table.add_row(drafter, _shown(name), str(drafted), str(accepted), share)
    return table


def _lossy(measured: dict[str, Measured]) -> Table:
    """What is lost where a strategy may answer otherwise than plain greedy decoding."""
    lossy, greedy = measured[LUD], measured[GREEDY]
    table = _table("Not lossless", "mentions as greedy, F1", "F1", "greedy's F1")
    shares = (agreement(lossy, greedy), lossy.score.f1, greedy.score.f1)
    table.add_row(_shown(LUD), *(f"{100 * share:.2f}" for share in shares))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right")
    return table


def _shown(name: str) -> str:
    return name.replace(GOLD, ", gold")

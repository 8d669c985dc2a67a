"""``padellm bench decode``: decoding strategies measured on documents, as tables and JSON."""

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from stream.aio import all_of
from stream.api import loaded
from stream.bench.cases import CaseMaker
from stream.bench.load import bench_documents
from stream.bench.measurement import (
    Measured,
    ModelArithmetic,
    Workload,
    agreement,
    documents_to_decode,
    machine_rate,
    measure,
    shown,
)
from stream.bench.strategies import FLOOR, GOLD, GREEDY, LUD, NAMES, OWN_ANSWERS, Opener
from stream.corpora.document import AnnotatedDocument, GoldEntity, label_inventory
from stream.corpora.jsonl import read_documents
from stream.engine.model.checkpoint import Checkpoint
from stream.engine.model.session import Model
from stream.errors import ConfigurationError
from stream.evaluation.tables import terminal_table
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from stream.settings import Settings

_WARM_UP = 8
_REFERENCE = "autoreg_struct"


def chosen_names(chosen: Sequence[str] | None, *, forced: bool) -> list[str]:
    """The strategies to open for the chosen ones, which are compared with others.

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
    """Measure strategies and the floor.

    Args:
        names: From ``chosen_names``.
        data: Annotated documents; None takes the samples, with the model's own answers for gold.
        model: Model folder; None takes the settings' one.
        limit: Documents decoded one by one.
        at_once: Most documents decoded many at once.

    Returns:
        Figures by strategy, and the model's folder.

    Raises:
        ConfigurationError: The data cannot be read, or has too few documents.
        CheckpointError: The folder holds no model that can be served.
    """
    wanted = _WARM_UP + max(limit, at_once)
    async with loaded(model) as opened:
        folder = opened.folder
        if data is None:
            documents = await samples_as_read(opened.extractor, wanted)
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


async def samples_as_read(extractor: Extractor, most: int) -> list[AnnotatedDocument]:
    """Sample documents, annotated with the model's own entities."""
    documents = bench_documents(None, most)
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
    """The figures as JSON; ``gold`` holds those of a strategy that ran with gold answers too."""
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
    """Print tables on stdout.

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
    """Passes and milliseconds a document, with their ratios to the floor's and the reference's."""
    columns = ["passes", "p95", "ms", "p50", "p95", "of floor"]
    table = terminal_table("Latency", *columns, f"{_REFERENCE} passes /", "ms /")
    floor, reference = _mean_ms(measured[FLOOR]), measured.get(_REFERENCE)
    for name, each in measured.items():
        figures = each.as_dict()
        table.add_row(
            shown(name),
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
    table = terminal_table("Documents/s, in flight:", *map(str, levels), f"/ {_REFERENCE} @{levels[-1]}")
    for name, each in measured.items():
        rates = each.documents_per_second
        ratio = rates[levels[-1]] / reference.documents_per_second[levels[-1]] if reference else None
        table.add_row(
            shown(name),
            *(f"{rates[level]:.1f}" for level in levels),
            "-" if ratio is None else f"{ratio:.2f}",
        )
    return table


def _tokens(measured: dict[str, Measured]) -> Table:
    table = terminal_table("Tokens a document", "computed", "drafted", "accepted", "produced")
    for name, each in measured.items():
        totals = each.totals
        counts = (
            totals.computed,
            sum(totals.drafted.values()),
            sum(totals.accepted.values()),
            totals.produced,
        )
        table.add_row(shown(name), *(f"{count / len(each.ms):.1f}" for count in counts))
    return table


def _parts(measured: dict[str, Measured]) -> Table:
    """Milliseconds of a pass by part, and of a document between its passes."""
    parts = list(measured[FLOOR].totals.seconds)
    table = terminal_table("Milliseconds of a pass", *parts, "a document between passes")
    for name, each in measured.items():
        totals = each.totals
        if totals.seconds:
            between = _mean_ms(each) - 1000 * sum(totals.seconds.values()) / len(each.ms)
            spent = (f"{1000 * totals.seconds[part] / totals.passes:.3f}" for part in parts)
            table.add_row(shown(name), *spent, f"{between:.2f}")
    return table


def _useful_work(measured: dict[str, Measured], folder: Path) -> Table:
    """Matrix products that answers needed, as a share of the machine's peak rate."""
    model, machine = ModelArithmetic.of(Checkpoint.open(folder).weights()), machine_rate()
    level = max(measured[FLOOR].documents_per_second)
    table = terminal_table(
        f"Useful work at {level} in flight", "MFLOP a document", f"of {machine / 1e9:.0f} GFLOP/s"
    )
    for name, each in measured.items():
        document = model.useful(each.totals) / len(each.ms)
        if each.totals.seconds:
            share = document * each.documents_per_second[level] / machine
            table.add_row(shown(name), f"{document / 1e6:.0f}", f"{100 * share:.1f}%")
    return table


def _mean_ms(measured: Measured) -> float:
    return float(np.mean(measured.ms))


def _drafters(measured: dict[str, Measured]) -> Table:
    table = terminal_table("Drafter", "strategy", "drafted", "accepted", "share")
    for name, each in measured.items():
        for drafter, drafted in sorted(each.totals.drafted.items()):
            accepted = each.totals.accepted.get(drafter, 0)
            share = f"{100 * accepted / drafted:.1f}%" if drafted else "-"
            table.add_row(drafter, shown(name), str(drafted), str(accepted), share)
    return table


def _lossy(measured: dict[str, Measured]) -> Table:
    """The loss of a strategy whose answers may differ from greedy decoding."""
    lossy, greedy = measured[LUD], measured[GREEDY]
    table = terminal_table("Not lossless", "mentions as greedy, F1", "F1", "greedy's F1")
    shares = (agreement(lossy, greedy), lossy.score.f1, greedy.score.f1)
    table.add_row(shown(LUD), *(f"{100 * share:.2f}" for share in shares))
    return table

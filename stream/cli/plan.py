"""``padellm plan``."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer


def plan(  # noqa: PLR0917 - the command line passes names
    figures: Annotated[Path, typer.Argument(help="Output of `padellm bench capacity --json`.")],
    rates: Annotated[
        str,
        typer.Option(
            "--rates", "--rate", metavar="N,...", help="Documents/s, one or one for each equal part of a day."
        ),
    ],
    latency_ms: Annotated[
        float, typer.Option(min=0.001, help="Longest mean time of a document in the model server.")
    ] = 1000.0,
    spare: Annotated[int, typer.Option(min=0, help="Servers that may be missing at the peak.")] = 1,
    in_flight: Annotated[int, typer.Option(min=1, help="PADELLM_MAX_IN_FLIGHT of a worker.")] = 64,
    server_price: Annotated[float, typer.Option(min=0, help="Of a model server, an hour.")] = 0.0,
    worker_price: Annotated[float, typer.Option(min=0, help="Of a worker, an hour.")] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Size partitions, workers and model servers for a rate, from figures that were measured.

    Prices are in a currency of your own. The table goes on to 100,000 documents/s at the same figures.

    Example: padellm bench capacity --json > capacity.json

    Example: padellm plan capacity.json --rates 40,40,200,350 --latency-ms 300 --server-price 2.5
    """
    from stream.bench.plan import Demand, ServerFigures, plan, show, summary

    demand = Demand(_rates(rates), latency_ms, spare, in_flight, server_price, worker_price)
    made = plan(ServerFigures.read(figures), demand)
    if as_json:
        typer.echo(json.dumps(summary(made)))
    else:
        show(made, priced=bool(server_price or worker_price))


def _rates(text: str) -> list[float]:
    try:
        rates = [float(each) for each in text.split(",")]
    except ValueError:
        rates = [math.nan]
    if not all(0 < rate < math.inf for rate in rates):
        raise typer.BadParameter(
            f"{text} is no list of documents a second, such as 40,200", param_hint="--rates"
        )
    return rates

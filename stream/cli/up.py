"""``padellm up``."""

import asyncio
import signal
from contextlib import ExitStack
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.settings import EventsPer, Inference, Settings

if TYPE_CHECKING:
    from stream.cli.up_view import View
    from stream.local.plan import Plan

_INTERRUPTED = 130


def up(  # noqa: PLR0917 - the command line passes names
    inference: Annotated[
        Inference | None, typer.Option(help="Where the model runs: in Triton, or inside the worker.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder, Hugging Face layout. [default: the bundled model]")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Kafka's data and all logs are kept here.")] = Path(
        ".padellm"
    ),
    broker_port: Annotated[
        int | None, typer.Option(help="Port of the embedded Kafka. [default: 9092]")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stream the documents through, show the events, and end.")
    ] = False,
    documents: Annotated[
        str | None, typer.Option(help="For --once: JSONL or plain text; - is stdin. [default: the samples]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines on stdout; the last line is the summary.")
    ] = False,
) -> None:
    """Start the whole stack on this machine: Kafka, Triton, topics and worker.

    It waits until everything is ready, says where it is, restarts what dies, and ends all of it on Ctrl-C.
    With BROKER or PADELLM_TRITON_URL set, those are used and none of our own is started.

    Example: padellm up

    Example: padellm up --once --documents documents.jsonl --json
    """
    if documents is not None and not once:
        raise typer.BadParameter("--documents goes with --once; for a running stack there is padellm produce")
    from stream.cli.up_view import View
    from stream.kafka.records import count_records
    from stream.local.plan import locked, make_plan, one_start_at_a_time

    chosen = {"inference": inference, "model": model, "events_per": EventsPer.DOCUMENT if once else None}
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = Settings().model_copy(update=given)
    view = View(as_json=as_json)
    with ExitStack() as stack:
        file = None if not once else documents or str(stack.enter_context(as_file(_samples())))
        if file is not None:
            count_records(file)  # a bad line is better known before anything is started
        stack.enter_context(locked(data_dir))
        starting = stack.enter_context(ExitStack())
        starting.enter_context(one_start_at_a_time(settings))
        plan = make_plan(settings, data_dir=data_dir, broker_port=broker_port, on_fetch=view.fetched)
        stack.enter_context(view)
        finished = asyncio.run(_run(plan, view, file, starting))
    if once and not finished:
        raise typer.Exit(_INTERRUPTED)


def _samples() -> Traversable:
    return files("stream.local") / "samples" / "documents.jsonl"


async def _run(plan: "Plan", view: "View", file: str | None, starting: ExitStack) -> bool:
    """Run the plan; whether it came to its end before a signal told it to stop.

    ``starting`` is closed when all parts are ready.
    """
    from stream.local.plan import running, while_running

    async def make_topics() -> None:
        from stream.kafka.topics import ensure_topics

        await ensure_topics(plan.settings)

    _cancel_on_signals()
    try:
        async with running(plan, make_topics=make_topics, on_change=view.changed) as supervisor:
            starting.close()
            view.ready(plan, serving=file is None)
            if file is None:
                await supervisor.wait()
            else:
                await while_running(supervisor, _stream_through(plan, view, file))
    except asyncio.CancelledError:
        return False
    return True


async def _stream_through(plan: "Plan", view: "View", file: str) -> None:
    from stream.kafka.records import read_records
    from stream.kafka.round_trip import round_trip

    summary = await round_trip(
        read_records(file),
        settings=plan.settings,
        on_outcome=view.outcome,
        stall_limit=plan.settings.stall_limit,
    )
    view.summary(summary)


def _cancel_on_signals() -> None:
    """The first Ctrl-C or SIGTERM ends the stack in order; a second ends this program, its guard the rest."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)

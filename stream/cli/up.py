"""``padellm up``."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.bundled import sample_documents
from stream.settings import Inference, Settings

if TYPE_CHECKING:
    from stream.cli.up_view import StackView

_INTERRUPTED = 130


def up(  # noqa: PLR0917 - the command line passes names
    inference: Annotated[
        Inference | None, typer.Option(help="Run the model in Triton, or in the worker; default: triton.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder, Hugging Face layout; default: the bundled model."),
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Folder for Kafka's data and all logs.")] = Path(".padellm"),
    broker_port: Annotated[
        int | None, typer.Option(help="Port of the embedded Kafka; default: 9092, or a free one.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stream documents through, show their events, and end.")
    ] = False,
    documents: Annotated[
        str | None,
        typer.Option(
            help="With --once: JSON Lines, a JSON array or plain text; - is stdin; default: the samples."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines; the last line is the summary.")
    ] = False,
) -> None:
    """Start the whole stack on this machine: Kafka, Triton, topics and worker.

    It waits until all services are ready, prints their addresses, restarts a service that dies, and stops all
    of them on Ctrl-C. If BROKER or PADELLM_TRITON_URL names a broker or Triton, it starts none of its own.
    The worker serves a page that shows the documents as they pass; PADELLM_PAGE=false leaves it out.

    Example: padellm up

    Example: padellm up --once --documents documents.jsonl --json
    """
    if documents is not None and not once:
        raise typer.BadParameter("--documents needs --once; to a running stack send with padellm produce")
    from stream.cli.up_view import StackView
    from stream.kafka.records import count_records

    file = (documents or str(sample_documents())) if once else None
    if file is not None:
        count_records(file)  # a bad line is reported before anything is started
    chosen = {"inference": inference, "model": model}
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = Settings().model_copy(update=given)
    if not once and "page" not in settings.model_fields_set:
        settings = settings.model_copy(update={"page": True})
    with StackView(as_json=as_json) as view:
        finished = asyncio.run(_run(settings, data_dir, broker_port, file, view))
    if once and not finished:
        raise typer.Exit(_INTERRUPTED)


async def _run(
    settings: Settings, data_dir: Path, broker_port: int | None, file: str | None, view: "StackView"
) -> bool:
    """Run the stack; true if it ended by itself, false if a signal stopped it."""
    from stream.local.plan import running_stack, while_running

    _cancel_on_signals()
    stack = running_stack(
        settings,
        data_dir=data_dir,
        broker_port=broker_port,
        on_fetch=view.fetched,
        on_change=view.changed,
    )
    try:
        async with stack as (plan, supervisor):
            view.ready(plan, serving=file is None)
            if file is None:
                await supervisor.wait()
            else:
                await while_running(supervisor, _stream_through(plan.settings, view, file))
    except asyncio.CancelledError:
        return False
    return True


async def _stream_through(settings: Settings, view: "StackView", file: str) -> None:
    from stream.kafka.records import read_records
    from stream.kafka.round_trip import round_trip

    summary = await round_trip(read_records(file), settings=settings, on_outcome=view.outcome)
    view.summary(summary)


def _cancel_on_signals() -> None:
    """Stop the stack at the first Ctrl-C or SIGTERM; a second kills this program, and its reaper the rest."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)

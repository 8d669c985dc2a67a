"""What ``padellm bench serve`` and ``soak`` share: a stack of their own, documents, the way through Kafka."""

import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path

from rich.console import Console

from stream.bench.processes import Usage, usage, usage_below
from stream.contract.messages import Document
from stream.corpora.jsonl import read_documents
from stream.errors import ConfigurationError, StackError
from stream.kafka.records import OutgoingRecord, read_records
from stream.kafka.round_trip import Summary, round_trip
from stream.kafka.topics import ensure_topics
from stream.local.plan import make_plan, one_start_at_a_time, running
from stream.local.supervisor import Change, State, Supervisor
from stream.settings import EventsPer, Inference, Settings


@asynccontextmanager
async def bench_stack(model: Path | None) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Kafka, Triton and the worker, ready, on ports and in a folder of their own.

    Raises:
        StackError: A part does not start.
        CheckpointError: The folder holds no model that can be served.
    """
    chosen = {
        "inference": Inference.TRITON,
        "events_per": EventsPer.DOCUMENT,
        "model": model or Settings().model,
    }
    # Nothing counts as set: a broker or Triton that the environment names is not for a benchmark to load.
    settings = Settings.model_construct(_fields_set=set(), **(Settings().model_dump() | chosen))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="padellm-bench-")))
        starting = stack.enter_context(ExitStack())
        starting.enter_context(one_start_at_a_time(settings))
        plan = make_plan(settings, data_dir=folder)

        async def make_topics() -> None:
            await ensure_topics(plan.settings)

        async with running(plan, make_topics=make_topics, on_change=_tell_of_death) as supervisor:
            starting.close()
            yield plan.settings, supervisor


def bench_documents(file: str | None, limit: int) -> list[Document]:
    """At most ``limit`` documents of a file; annotated ones as well, of which the text is taken.

    Args:
        file: JSONL or plain text, gzip or not; None: the samples.
        limit: At least 1.

    Raises:
        ConfigurationError: The file cannot be read or holds no document.
    """
    with as_file(files("stream.local") / "samples" / "documents.jsonl") as samples:
        path = file or str(samples)
        try:
            records = islice(read_records(path), limit)
            documents = [Document.model_validate_json(record.value) for record in records]
        except ConfigurationError as error:
            try:
                annotated = islice(read_documents(Path(path)), limit)
                documents = [Document(id=each.id, text=each.text) for each in annotated]
            except ConfigurationError:
                raise error from None
    if not documents:
        raise ConfigurationError(f"{path} holds no document")
    return documents


async def through_kafka(
    documents: Sequence[Document],
    settings: Settings,
    *,
    rate: float | None = None,
    on_event: Callable[[], None] = lambda: None,
) -> Summary:
    """Send documents to the worker and wait for all their events.

    Args:
        documents: At least one.
        settings: Of the stack.
        rate: Documents a second; None: as many as the worker takes.
        on_event: Called at each event.

    Raises:
        StackError: A document had no outcome, or became a dead letter.
    """
    # Twice the worker's window is on its way: it is never idle, and no document waits in a long queue.
    unanswered = threading.Semaphore(2 * settings.window)

    def answered(*_: object) -> None:
        unanswered.release()
        on_event()

    summary = await round_trip(
        _paced(documents, unanswered if rate is None else None, rate),
        settings=settings,
        on_outcome=answered,
        stall_limit=settings.stall_limit,
    )
    if summary.dead_letters:
        raise StackError(f"{summary.dead_letters} of {summary.documents} documents became dead letters")
    return summary


def usages(supervisor: Supervisor) -> dict[str, Usage]:
    """What this program and each of the stack's have taken so far, those apart of which the system tells.

    Triton's python backend runs the engine in a process below Triton's own.
    """
    pids = supervisor.pids()
    found = {
        "this program": usage(os.getpid()),
        "kafka": usage(pids["kafka"]),
        "triton": usage(pids["triton"]),
        "triton's engine": usage_below(pids["triton"]),
        "worker": usage(pids["worker"]),
    }
    return {name: each for name, each in found.items() if each is not None}


def _paced(
    documents: Sequence[Document], unanswered: threading.Semaphore | None, rate: float | None
) -> Iterator[OutgoingRecord]:
    """Records, each when there is room for it or its time has come; blocks, so a thread must read it."""
    began = time.perf_counter()
    for at, document in enumerate(documents):
        if unanswered is not None:
            unanswered.acquire()
        if rate is not None:
            time.sleep(max(0.0, began + at / rate - time.perf_counter()))
        value = document.model_dump_json(exclude_defaults=True).encode()
        yield OutgoingRecord(document.id.encode() or None, value, document.text)


def _tell_of_death(change: Change) -> None:
    if change.state is State.DIED:
        message = (
            f"{change.part.name} died and is started again: measure anew, this run's figures are no good"
        )
        Console(stderr=True).print(message, style="red")

"""The plan of the embedded stack, and the stack running."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stream.bundled import model_folder
from stream.errors import PadellmError, StackError
from stream.local.java import Progress
from stream.local.kafka import Kafka
from stream.local.ports import free_ports, is_free
from stream.local.supervisor import Change, Supervisor
from stream.local.triton import TritonServer, why_unavailable
from stream.local.worker import Worker
from stream.ner.config import NerConfig
from stream.settings import Inference, Settings

_KAFKA_PORT = 9092
_TRITON_HTTP_PORT = 8000
_TRITON_GRPC_PORT = 8001
_TRITON_METRICS_PORT = 8002


@dataclass(frozen=True)
class Plan:
    """The stack to run.

    Attributes:
        settings: What the worker and every client of this stack uses.
        kafka: The embedded broker; None where the settings name one.
        triton: The embedded Triton; None where the settings name one, or the engine runs in the worker.
        worker: The worker.
        notes: What a person should know: ports that were taken.
    """

    settings: Settings
    kafka: Kafka | None
    triton: TritonServer | None
    worker: Worker
    notes: tuple[str, ...]

    def addresses(self) -> dict[str, str]:
        """Where things are, by name."""
        settings = self.settings
        triton = {"triton": settings.triton_url} if settings.inference is Inference.TRITON else {}
        return {
            "broker": settings.broker,
            "documents": settings.documents_topic,
            "entities": settings.entities_topic,
            "dead_letters": settings.dead_letters_topic,
            **triton,
            "health": f"{self.worker.address}/readyz",
            "metrics": f"{self.worker.address}/metrics",
            "logs": str(self.worker.log_file.parent),
        }


def make_plan(
    settings: Settings, *, data_dir: Path, broker_port: int | None = None, on_fetch: Progress | None = None
) -> Plan:
    """Choose parts and ports. What the settings name explicitly (broker, Triton) is used, not started.

    Args:
        settings: As the environment and the command line have them.
        data_dir: Kafka's data and all logs are kept here.
        broker_port: Start Kafka, on this very port.
        on_fetch: Told how the fetching of Kafka's jars goes.

    Raises:
        StackError: ``broker_port`` is taken, or Triton cannot run on this machine; says what to do instead.
        CheckpointError: The settings' model folder holds no model; or they name none, and none is bundled.
    """
    folder, ports = data_dir.resolve(), _Ports()
    logs = folder / "logs"
    model = (model_folder(settings.model)).resolve()
    NerConfig.load(model)  # a folder that holds no model is better known now than from the worker's log
    settings = settings.model_copy(update={"model": model})
    kafka = None
    if broker_port is not None or "broker" not in settings.model_fields_set:
        kafka = Kafka(
            folder=folder / "kafka",
            cache=settings.cache_dir,
            port=ports.this(broker_port) if broker_port else ports.take("Kafka", _KAFKA_PORT),
            controller_port=ports.any(),
            log_file=logs / "kafka.log",
            progress=on_fetch,
        )
        settings = settings.model_copy(update={"broker": kafka.bootstrap})
    triton = None
    if settings.inference is Inference.TRITON and "triton_url" not in settings.model_fields_set:
        triton = _triton(settings, ports, folder / "triton", logs / "triton.log")
        settings = settings.model_copy(update={"triton_url": triton.url})
    health_port = ports.take("the worker's health page", settings.health_port)
    settings = settings.model_copy(update={"health_port": health_port})
    return Plan(settings, kafka, triton, Worker(settings, logs / "worker.log"), tuple(ports.notes))


@contextmanager
def one_start_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold from choosing ports until the parts listen on them, so that no two stacks choose the same."""
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with (settings.cache_dir / "starting").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: one stack at a time.

    Raises:
        StackError: It cannot be made, or another program holds it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("a+")
    except OSError as error:
        raise StackError(
            f"{data_dir} cannot be used: {error.strerror}; choose another with --data-dir"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StackError(
                f"another padellm up (process {file.read().strip()}) uses {data_dir}: "
                "stop it, or choose another folder with --data-dir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _triton(settings: Settings, ports: "_Ports", folder: Path, log_file: Path) -> TritonServer:
    if reason := why_unavailable():
        raise StackError(reason)
    package = Path(__file__).parents[1]
    bundled = package / "_bundled"
    return TritonServer(
        folder=folder,
        models=(bundled if bundled.is_dir() else package.parent) / "triton_models" / "cpu",
        checkpoint=model_folder(settings.model),
        threads=settings.engine_threads,
        grounded=settings.grounded,
        int8=settings.int8,
        http_port=ports.take("Triton's HTTP", _TRITON_HTTP_PORT),
        grpc_port=ports.take("Triton's gRPC", _TRITON_GRPC_PORT),
        metrics_port=ports.take("Triton's metrics", _TRITON_METRICS_PORT),
        log_file=log_file,
    )


class _Ports:
    """Hands out ports, each once; remembers where the usual one was taken."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._given: set[int] = set()

    def this(self, port: int) -> int:
        """This port and no other."""
        if not is_free(port):
            raise StackError(f"port {port} is taken: choose another with --broker-port, or leave it out")
        self._given.add(port)
        return port

    def take(self, whose: str, usual: int) -> int:
        """The usual port, or a free one if that is taken."""
        if usual and usual not in self._given and is_free(usual):
            self._given.add(usual)
            return usual
        port = self.any()
        if usual:
            self.notes.append(f"port {usual}, {whose}, is taken: using {port}")
        return port

    def any(self) -> int:
        """A free port."""
        port = next(port for port in free_ports(len(self._given) + 1) if port not in self._given)
        self._given.add(port)
        return port


Result = TypeVar("Result")
MakeTopics = Callable[[], Awaitable[None]]


@asynccontextmanager
async def running(
    plan: Plan, *, make_topics: MakeTopics, on_change: Callable[[Change], None]
) -> AsyncIterator[Supervisor]:
    """The parts of a plan, all ready; they end when the context is left.

    Triton loads its model while Kafka starts; the worker starts when the topics are there.

    Args:
        plan: What to run.
        make_topics: Makes the topics that are not there; called when the broker is ready.
        on_change: Called at every change of a part's state.

    Raises:
        StackError: A part did not start; the others have been ended.
    """
    async with Supervisor(on_change=on_change) as supervisor:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_kafka_to_worker(plan, supervisor, make_topics))
                if plan.triton is not None:
                    group.create_task(supervisor.start(plan.triton))
        except* PadellmError as errors:
            raise errors.exceptions[0] from None
        yield supervisor


async def _kafka_to_worker(plan: Plan, supervisor: Supervisor, make_topics: MakeTopics) -> None:
    if plan.kafka is not None:
        await supervisor.start(plan.kafka)
    await make_topics()
    await supervisor.start(plan.worker)


async def while_running(supervisor: Supervisor, work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` returns, unless a part dies for good before.

    Raises:
        StackError: A part has died for good.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(supervisor.wait())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not working.done():
            watching.result()
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)

"""The plan of the embedded stack, its worker, and the running stack."""

import asyncio
import fcntl
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from stream.bundled import model_folder, model_repository
from stream.errors import ConfigurationError, PadellmError, StackError
from stream.kafka.topics import ensure_topics
from stream.local.java import Progress
from stream.local.kafka import Kafka
from stream.local.ports import free_ports, is_free
from stream.local.supervisor import StateChange, Supervisor
from stream.local.triton import TritonServer, why_unavailable
from stream.ner.config import NerConfig
from stream.settings import Inference, Settings
from stream.settings.protection import KAFKA_PROTECTION, TRITON_PROTECTION, plain
from stream.settings.variables import environment

_KAFKA_PORT = 9092
_TRITON_HTTP_PORT = 8000
_TRITON_GRPC_PORT = 8001
_TRITON_METRICS_PORT = 8002
_LOCK_POLL = 0.1


@dataclass(frozen=True)
class WorkerProcess:
    """The worker: the same program that ``padellm worker`` runs in production.

    Attributes:
        settings: Handed to the process through its environment.
        log_file: The file for its output.
    """

    settings: Settings
    log_file: Path

    name = "worker"

    def prepare(self) -> None:
        """Nothing to prepare."""

    def command(self) -> list[str]:
        """This Python, running ``padellm worker``."""
        return [sys.executable, "-m", "stream.cli", "worker"]

    def environment(self) -> dict[str, str]:
        """Every setting as its variable."""
        return environment(self.settings)

    async def is_ready(self) -> bool:
        """True if its ``/readyz`` answers 200."""
        return await asyncio.to_thread(self._answers_ready)

    @property
    def address(self) -> str:
        """URL of its health and metrics pages."""
        return f"http://{self.settings.health_host}:{self.settings.health_port}"

    @property
    def page(self) -> str:
        """URL of the page it serves, if the settings switch it on."""
        return f"http://{self.settings.page_host}:{self.settings.page_port}/"

    def _answers_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=2) as answer:  # noqa: S310 - http, ours
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (urllib.error.URLError, OSError):
            return False


@dataclass(frozen=True)
class Plan:
    """The stack to run.

    Attributes:
        settings: For the worker and every client of this stack.
        kafka: The embedded broker; None where the settings name one.
        triton: The embedded Triton; None where the settings name one, or the engine runs in the worker.
        worker: The worker.
        notes: Messages for a person about ports that were taken.
    """

    settings: Settings
    kafka: Kafka | None
    triton: TritonServer | None
    worker: WorkerProcess
    notes: tuple[str, ...]

    def addresses(self) -> dict[str, str]:
        """Addresses, topics and log folder by name."""
        settings = self.settings
        place = settings.inference
        triton = {} if place is Inference.IN_PROCESS else {place.value: settings.triton_url}
        rows = {"entity_rows": settings.entity_rows_topic} if settings.entity_rows_topic else {}
        return {
            "broker": settings.broker,
            "documents": settings.documents_topic,
            "entities": settings.entities_topic,
            "dead_letters": settings.dead_letters_topic,
            **rows,
            **triton,
            **({"page": self.worker.page} if settings.page else {}),
            "health": f"{self.worker.address}/readyz",
            "metrics": f"{self.worker.address}/metrics",
            "logs": str(self.worker.log_file.parent),
        }


def make_plan(
    settings: Settings, *, data_dir: Path, broker_port: int | None = None, on_fetch: Progress | None = None
) -> Plan:
    """Choose services and ports. A broker or Triton that the settings name is used, and none is started.

    Args:
        settings: From the environment and the command line.
        data_dir: Folder for Kafka's data and all logs.
        broker_port: Start Kafka, on this port and no other.
        on_fetch: Called with the progress of fetching Kafka's jars.

    Raises:
        StackError: ``broker_port`` is taken, or Triton cannot run on this machine; names the way without it.
        CheckpointError: The settings' model folder holds no model; or they name none, and none is bundled.
        ConfigurationError: A protection is set for a server that they do not name, or a schema registry.
    """
    if settings.inference is Inference.VLLM and "triton_url" not in settings.model_fields_set:
        raise ConfigurationError(
            "this stack starts no vLLM: set PADELLM_TRITON_URL to the host:port of yours, or leave out "
            "PADELLM_INFERENCE=vllm"
        )
    if settings.schema_registry_url is not None:
        raise ConfigurationError(
            "this stack has no schema registry and speaks plain JSON: unset PADELLM_SCHEMA_REGISTRY_URL, or "
            "start padellm worker beside your own broker"
        )
    folder, ports = data_dir.resolve(), _Ports()
    logs = folder / "logs"
    model = model_folder(settings.model).resolve()
    NerConfig.load(model)  # a folder without a model is reported here, not in the worker's log
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
        settings = settings.model_copy(
            update={"broker": kafka.bootstrap, **plain(settings, KAFKA_PROTECTION, "BROKER")}
        )
    triton = None
    if settings.inference is Inference.TRITON and "triton_url" not in settings.model_fields_set:
        triton = _triton(settings, ports, folder / "triton", logs / "triton.log")
        settings = settings.model_copy(
            update={"triton_url": triton.url, **plain(settings, TRITON_PROTECTION, "PADELLM_TRITON_URL")}
        )
    health_port = ports.take("the worker's health page", settings.health_port)
    settings = settings.model_copy(update={"health_port": health_port})
    if settings.page:
        page_port = ports.take("the page", settings.page_port)
        settings = settings.model_copy(update={"page_port": page_port})
    return Plan(settings, kafka, triton, WorkerProcess(settings, logs / "worker.log"), tuple(ports.notes))


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock the data folder for one stack at a time.

    Raises:
        StackError: It cannot be created, or another program has locked it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("a+")
    except OSError as error:
        raise StackError(
            f"{data_dir} cannot be used: {error.strerror}; choose another with --data-dir"
        ) from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            raise StackError(
                f"another padellm up (process {file.read().strip()}) uses {data_dir}: "
                "stop it, or choose another folder with --data-dir"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _triton(settings: Settings, ports: "_Ports", folder: Path, log_file: Path) -> TritonServer:
    if reason := why_unavailable():
        raise StackError(reason)
    return TritonServer(
        folder=folder,
        models=model_repository(),
        checkpoint=model_folder(settings.model),
        threads=settings.engine_threads,
        kv_cache_mb=settings.kv_cache_mb,
        constrained=settings.constrained,
        int8=settings.int8,
        http_port=ports.take("Triton's HTTP", _TRITON_HTTP_PORT),
        grpc_port=ports.take("Triton's gRPC", _TRITON_GRPC_PORT),
        metrics_port=ports.take("Triton's metrics", _TRITON_METRICS_PORT),
        log_file=log_file,
    )


class _Ports:
    """Allocates ports, each once, and notes the usual ones that were taken."""

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


@asynccontextmanager
async def running_stack(
    settings: Settings,
    *,
    data_dir: Path,
    on_change: Callable[[StateChange], None],
    broker_port: int | None = None,
    on_fetch: Progress | None = None,
) -> AsyncIterator[tuple[Plan, Supervisor]]:
    """Plan a stack and run its services, all ready; they end when the context is left.

    Triton loads its model while Kafka starts; the worker starts when the topics exist.

    Args:
        settings: As ``make_plan``.
        data_dir: As ``make_plan``; locked for one stack at a time.
        on_change: Called at every change of a service's state.
        broker_port: As ``make_plan``.
        on_fetch: As ``make_plan``.

    Raises:
        StackError: A service did not start, or another stack uses the folder; the others have been ended.
        DeliveryError: The broker of the settings does not answer, or refuses to create the topics.
        CheckpointError: As ``make_plan``.
    """
    with locked(data_dir):
        async with AsyncExitStack() as stack:
            async with _one_start_at_a_time(settings):
                plan = make_plan(settings, data_dir=data_dir, broker_port=broker_port, on_fetch=on_fetch)
                supervisor = await stack.enter_async_context(Supervisor(on_change=on_change))
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_kafka_to_worker(plan, supervisor))
                        if plan.triton is not None:
                            group.create_task(supervisor.start(plan.triton))
                except* PadellmError as errors:
                    raise errors.exceptions[0] from None
            yield plan, supervisor


@asynccontextmanager
async def _one_start_at_a_time(settings: Settings) -> AsyncIterator[None]:
    """Lock out other stacks from the choice of ports until the services listen on them."""
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with (settings.cache_dir / "starting").open("w") as file:
        while not _try_lock(file):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(_LOCK_POLL)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _kafka_to_worker(plan: Plan, supervisor: Supervisor) -> None:
    if plan.kafka is not None:
        await supervisor.start(plan.kafka)
    await ensure_topics(plan.settings)
    await supervisor.start(plan.worker)


async def while_running(supervisor: Supervisor, work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``, unless a service fails permanently first.

    Raises:
        StackError: A service failed permanently.
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

"""The dashboard and the alerts, asked of a real Prometheus that scrapes real workers."""

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream.kafka.topics import ensure_topics
from stream.local.ports import free_ports
from stream.settings import EventEncoding
from tests.inference.scripted_triton import ScriptedTriton
from tests.integration.ill_triton import EXECUTOR_FAILED, Illness, ill_server
from tests.integration.prometheus import MONITORING, Prometheus, hurried_rules, running_prometheus
from tests.integration.worker_fixture import REAL, Bench, WorkerProcess

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed"),
]

EXPRESSIONS = {
    target["expr"]
    for panel in json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    for target in panel["targets"]
}
ALERTS = {rule["alert"] for rule in hurried_rules()["groups"][0]["rules"]}


@dataclass
class Scene:
    """Workers under the eyes of a Prometheus, over a model server that can fall ill."""

    bench: Bench
    prometheus: Prometheus
    illness: Illness
    triton: ScriptedTriton
    folder: Path

    async def worker(self, **settings: Any) -> WorkerProcess:
        """Start the worker that ships, and watch it once it is ready."""
        worker = self.bench.start_worker(REAL, **{"triton_url": self.triton.url, **settings})
        await worker.is_ready()
        self.prometheus.watch(worker.health)
        return worker

    async def publishes_anew(self) -> None:
        """Let the worker publish events again, with other entities: those behind a document in flight."""
        for partition in range(4):
            await self.bench.produce(self.held, "Eva wrote", "Eva read", partition=partition)
        await self.bench.outcomes(
            lambda records: sum(b'"Eva"' in record.value for record in records) >= 8, patience=300
        )
        self.illness.blind = True
        # The group hands out its partitions anew: what is not committed is read again.
        await self.bench.start_worker(REAL, triton_url=self.triton.url).is_ready()

    @property
    def held(self) -> str:
        """A text to which the model does not answer."""
        return f"Ada WAIT-FOR {self.folder}/never"


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that watches nobody yet."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with running_prometheus(folder) as one:
        yield one


@pytest.fixture
async def scene(
    bench: Bench, prometheus: Prometheus, tiny_model: Path, tmp_path: Path
) -> AsyncIterator[Scene]:
    """All parts, without a worker."""
    async with ill_server(tiny_model) as (illness, triton):
        yield Scene(bench, prometheus, illness, triton, tmp_path)


async def test_monitoring_every_panel_has_data(scene: Scene, tiny_model: Path):
    """Each expression of the dashboard has numbers of a worker with several servers and a shadow."""
    shadow = {"shadow_share": 1.0, "shadow_topic": f"{scene.bench.settings.group}-shadow"}
    async with ill_server(tiny_model) as (too, other), ill_server(tiny_model) as (_, second):
        shadow["shadow_triton_url"] = second.url
        await ensure_topics(scene.bench.settings.model_copy(update=shadow))
        await scene.worker(triton_url=f"{scene.triton.url},{other.url}", **shadow)
        async with scene.bench.producer() as producer:
            await producer.send_and_wait(scene.bench.settings.documents_topic, b"no JSON")
        scene.illness.words = too.words = EXECUTOR_FAILED
        await scene.bench.produce(*(f"Ada{n} wrote" for n in range(40)))
        await scene.prometheus.until(
            lambda: scene.prometheus.has_numbers('padellm_retries_total{of="model"} > 0'), "a second try"
        )
        scene.illness.words = too.words = None
        await scene.publishes_anew()
        for expression in sorted(EXPRESSIONS):
            await scene.prometheus.until(
                lambda each=expression: scene.prometheus.has_numbers(each), f"numbers of {expression}"
            )


async def _model_is_sick(scene: Scene) -> None:
    scene.illness.words = EXECUTOR_FAILED
    await scene.bench.produce("Ada wrote")


async def _model_refuses_all(scene: Scene) -> None:
    scene.illness.words = "something is wrong"
    await scene.bench.produce(*(f"Ada{n} wrote" for n in range(5)))


async def _documents_are_held(scene: Scene) -> None:
    await scene.bench.produce(*[scene.held] * 100)


async def _producer_sends_rubbish(scene: Scene) -> None:
    async with scene.bench.producer() as producer:
        await producer.send_and_wait(scene.bench.settings.documents_topic, b"no JSON")


async def _document_kills_the_server(scene: Scene) -> None:
    await scene.bench.produce("Ada KILL")


async def _another_worker_joins_and_answers_differ(scene: Scene) -> None:
    await scene.publishes_anew()


async def _retention_overtakes_a_stopped_worker(scene: Scene) -> None:
    place = TopicPartition(scene.bench.settings.documents_topic, 0)
    await scene.bench.produce("Ada wrote", partition=0)
    await scene.bench.until_committed({0: 1})
    scene.bench.workers[0].terminate()
    await scene.bench.produce(*(f"Ada{n} wrote" for n in range(9)), partition=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.bench.settings.broker)
    await admin.start()
    try:
        await admin.delete_records({place: RecordsToDelete(before_offset=8)})
    finally:
        await admin.close()
    await scene.worker()  # whose first scrape comes after the loss, as one of every 15 seconds would


async def _service_fails_itself(scene: Scene) -> None:
    scene.bench.workers[0].terminate()
    worker = scene.bench.start_worker()  # over the model that a text can order to raise anything
    await worker.is_ready()
    scene.prometheus.watch(worker.health)
    await scene.bench.produce("Ada FAULT")


async def _registry_is_away(scene: Scene) -> None:
    (port,) = free_ports(1)
    settings = {"schema_registry_url": f"http://127.0.0.1:{port}", "event_encoding": EventEncoding.AVRO}
    scene.prometheus.watch(scene.bench.start_worker(REAL, triton_url=scene.triton.url, **settings).health)


async def _broker_is_away(scene: Scene) -> None:
    (port,) = free_ports(1)
    settings = {"broker": f"127.0.0.1:{port}"}
    scene.prometheus.watch(scene.bench.start_worker(REAL, triton_url=scene.triton.url, **settings).health)


FAULTS: dict[Callable[[Scene], Awaitable[None]], set[str]] = {
    _model_is_sick: {"PadellmModelUnavailable"},
    _model_refuses_all: {"PadellmRefusedAlike"},
    _documents_are_held: {"PadellmLagGrows", "PadellmNotProgressing", "PadellmStalled"},
    _producer_sends_rubbish: {"PadellmDeadLetterShare"},
    _document_kills_the_server: {"PadellmModelServerDies"},
    _another_worker_joins_and_answers_differ: {"PadellmDivergentRepeats", "PadellmRebalances"},
    _retention_overtakes_a_stopped_worker: {"PadellmWorkerDown", "PadellmRecordsDeletedUnread"},
    _service_fails_itself: {"PadellmInternalErrors"},
    _registry_is_away: {"PadellmRegistryUnavailable"},
    _broker_is_away: {"PadellmBrokerUnavailable"},
}


def test_monitoring_has_a_fault_for_every_alert():
    """No alert is without a fault."""
    assert set.union(*FAULTS.values()) == ALERTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_alerts_fire_under_their_faults(scene: Scene, fault: Callable[[Scene], Awaitable[None]]):
    """No alert fires while a worker is well, and those of a fault do under it; every panel can be asked."""
    await scene.worker()
    well = "min(padellm_part_up) == 1 and sum(up) == 1"
    await scene.prometheus.until(lambda: scene.prometheus.has_numbers(well), "the first scrape")
    assert await scene.prometheus.firing() == set()
    await fault(scene)
    for alert in FAULTS[fault]:

        async def fires(alert: str = alert) -> bool:
            return alert in await scene.prometheus.firing()

        await scene.prometheus.until(fires, alert)
    assert [each for each in EXPRESSIONS if not await scene.prometheus.takes(each)] == []

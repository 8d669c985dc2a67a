"""A real Apache Kafka for tests: `kafka` for a whole run, `private_kafka` for one that stops or kills it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local.ports import free_ports
from stream.local.reaper import Reaper
from stream.settings import Settings
from tests.integration.proxied_kafka import ProxiedKafka
from tests.integration.running_service import RunningService


class RunningKafka(RunningService):
    """A broker on free loopback ports, which it keeps over restarts; its data is kept too."""

    def __init__(self, folder: Path, reaper: Reaper, kind: type[ProxiedKafka] = ProxiedKafka) -> None:
        port, controller_port, proxied_port, proxy_port = free_ports(4)
        service = kind(
            folder=folder,
            cache=Settings().cache_dir,
            port=port,
            controller_port=controller_port,
            log_file=folder / "kafka.log",
            proxied_port=proxied_port,
            proxy_port=proxy_port,
        )
        super().__init__(service, reaper)

    @property
    def bootstrap(self) -> str:
        """127.0.0.1:port."""
        return self.service.bootstrap

    @property
    def nodes(self) -> dict[int, RunningService]:
        """Itself, by its id, as of a cluster of one."""
        return {1: self}


class OldTransactionsKafka(ProxiedKafka):
    """A broker with transaction.version=0, as of Kafka 3."""

    def _format_options(self) -> list[str]:
        return [*super()._format_options(), "--feature", "transaction.version=0"]


def serve(folder: Path, kind: type[ProxiedKafka] = ProxiedKafka) -> Iterator[RunningKafka]:
    """A broker of a kind, until the next step."""
    with Reaper() as reaper:
        broker = RunningKafka(folder, reaper, kind)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """One broker for the whole run; use topics and groups of your own names."""
    yield from serve(tmp_path_factory.mktemp("kafka"))


@pytest.fixture
def private_kafka(tmp_path: Path) -> Iterator[RunningKafka]:
    """A broker for one test, which may stop, kill and start it."""
    yield from serve(tmp_path / "kafka")

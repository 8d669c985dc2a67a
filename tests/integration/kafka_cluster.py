"""A cluster of three brokers on this machine: everything is replicated three times, and two copies suffice.

The logs of the two coordinators have one partition each, so that one broker has each of these roles.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stream.local.kafka import Kafka, new_cluster_id
from stream.local.ports import LOOPBACK, free_ports
from stream.local.reaper import Reaper
from stream.settings import Settings
from tests.integration.running_service import RunningService

_NODES = (1, 2, 3)


@dataclass(frozen=True)
class KafkaNode(Kafka):
    """A node of a cluster, broker and controller.

    Attributes:
        node: Its id.
        cluster: Id of the cluster.
        voters: All controllers, as ``controller.quorum.voters`` names them.
    """

    node: int = 0
    cluster: str = ""
    voters: str = ""

    def _format_options(self) -> list[str]:
        return ["-t", self.cluster]

    def _settings(self) -> dict[str, object]:
        return {
            **super()._settings(),
            "node.id": self.node,
            "controller.quorum.voters": self.voters,
            "default.replication.factor": 3,
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": 3,
            "transaction.state.log.replication.factor": 3,
            "transaction.state.log.min.isr": 2,
            # A broker that a busy machine holds up for a moment is not dead.
            "broker.session.timeout.ms": 4000,
            "initial.broker.registration.timeout.ms": 300_000,
        }


class RunningCluster:
    """Three brokers on free loopback ports, which they keep over restarts; their data is kept too.

    Attributes:
        nodes: The brokers by their ids.
        bootstrap: Addresses of all, separated by commas.
    """

    def __init__(self, folder: Path, reaper: Reaper) -> None:
        ports = free_ports(2 * len(_NODES))
        places = dict(zip(_NODES, zip(ports[::2], ports[1::2], strict=True), strict=True))
        cluster = new_cluster_id()
        voters = ",".join(f"{node}@{LOOPBACK}:{controller}" for node, (_, controller) in places.items())
        services = {
            node: KafkaNode(
                folder=folder / f"node-{node}",
                cache=Settings().cache_dir,
                port=port,
                controller_port=controller,
                log_file=folder / f"node-{node}.log",
                node=node,
                cluster=cluster,
                voters=voters,
            )
            for node, (port, controller) in places.items()
        }
        self.nodes = {node: RunningService(service, reaper) for node, service in services.items()}
        self.bootstrap = ",".join(service.bootstrap for service in services.values())

    def start(self) -> None:
        """Start all, at once, and wait until they serve."""
        self._each(lambda node: node.service.prepare())  # a node alone waits for the others, but not for ever
        self._each(RunningService.start)

    def stop(self) -> None:
        """Stop all in an orderly way."""
        self._each(RunningService.stop)

    def kill(self) -> None:
        """Kill all at once (SIGKILL)."""
        self._each(RunningService.kill)

    def _each(self, deed) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(deed, self.nodes.values()))

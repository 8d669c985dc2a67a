"""A real Apache Kafka on this machine: one node (broker and controller) on loopback, from pinned jars."""

import os
import secrets
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stream.errors import StackError
from stream.local.java import Java, Progress, fetch, find_java, locked_jars
from stream.local.ports import LOOPBACK, is_listening

VERSION = "4.3.1"
_LARGEST_MESSAGE = 64 * 1024 * 1024
_LARGEST_PARTITION = 1024 * 1024 * 1024
_FORMAT_PATIENCE = 120.0


@dataclass(frozen=True)
class Kafka:
    """The embedded broker, a service of the stack.

    Attributes:
        folder: For its configuration and data; existing data is served again.
        cache: For the jars (``<cache>/kafka-<version>``).
        port: Port of the broker, on loopback.
        controller_port: Port of its controller, on loopback.
        log_file: The file for its output.
        progress: Called with the progress of fetching the jars.
    """

    folder: Path
    cache: Path
    port: int
    controller_port: int
    log_file: Path
    progress: Progress | None = None

    name = "kafka"

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Fetch the jars, write the configuration, and format the data folder if it is new.

        Raises:
            StackError: There is no Java, a jar is not to be had or not the pinned one, or formatting fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._properties_file.write_text(self._properties(), encoding="utf-8")
        if not self._meta_file.exists():
            self._format()

    def command(self) -> list[str]:
        """The broker's command line."""
        return [*self._java_command("-Xmx256m"), "kafka.Kafka", str(self._properties_file)]

    def environment(self) -> dict[str, str]:
        """No variables: everything is on the command line."""
        return {}

    async def is_ready(self) -> bool:
        """True if a broker answers at the port, and it is this one: another may hold the port."""
        if not is_listening(self.port):
            return False
        from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415 - half a second, while the JVM starts anyway
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
        return (
            bool(cluster["brokers"])
            and f"cluster.id={cluster['cluster_id']}\n" in self._meta_file.read_text()
        )

    @cached_property
    def _java(self) -> Java:
        return find_java()

    @cached_property
    def _classpath(self) -> str:
        jars = fetch(locked_jars(), self.cache / f"kafka-{VERSION}", progress=self.progress)
        return os.pathsep.join(map(str, jars))

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _meta_file(self) -> Path:
        """The file that formatting writes; it names the cluster."""
        return self._data_folder / "meta.properties"

    @property
    def _data_folder(self) -> Path:
        return self.folder / "data"

    def _java_command(self, *flags: str) -> list[str]:
        return [
            str(self._java.program),
            *flags,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            *self._java.quiet_flags,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            self._classpath,
        ]

    def _format(self) -> None:
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "-c",
            str(self._properties_file),
        ]
        try:
            answer = subprocess.run(
                [*self._java_command(), *tool, *self._format_options()],
                capture_output=True,
                text=True,
                timeout=_FORMAT_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StackError(
                f"Kafka's data folder {self._data_folder} could not be formatted: {error}"
            ) from error
        if answer.returncode != 0:
            raise StackError(
                f"Kafka's data folder {self._data_folder} could not be formatted: "
                f"{(answer.stderr or answer.stdout).strip()[-1000:]}"
            )

    def _format_options(self) -> list[str]:
        return ["-t", new_cluster_id()]

    def _properties(self) -> str:
        return "".join(f"{name}={value}\n" for name, value in self._settings().items())

    def _settings(self) -> dict[str, object]:
        """``server.properties``: one node that is broker and controller, nothing replicated."""
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.controller_port}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._data_folder.resolve(),
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "message.max.bytes": _LARGEST_MESSAGE,  # also for topics that a client creates by using them
            "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
            # By size and not by age: what is sent with its times of years ago would be deleted unread.
            "log.retention.ms": -1,
            "log.retention.bytes": _LARGEST_PARTITION,
            # After a kill the new process waits for its own old registration to expire: 9 seconds by default.
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
        }


def new_cluster_id() -> str:
    """16 random bytes in URL-safe Base64, as Kafka writes its ids; the fixed "k" keeps off a leading dash."""
    return f"k{secrets.token_urlsafe(16)[1:22]}"

"""The broker of the compose files with TLS, without Docker: their variables, on the same Kafka."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from stream.errors import PadellmError
from stream.kafka.topics import ensure_topics, missing_topics, topic_names
from stream.local.kafka import Kafka
from stream.local.ports import free_ports
from stream.local.reaper import Reaper
from stream.settings import SecurityProtocol, Settings
from tests.integration.running_service import RunningService

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FILES = [
    yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    for name in ("docker-compose.yml", "compose.tls.yml")
]
_OF_THE_SHELL = {"KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS"}


@dataclass(frozen=True)
class ComposedKafka(Kafka):
    """A broker with the variables of the service in the compose files, at paths and ports of this machine."""

    certificates: Path = Path()
    ports: dict[str, int] = field(default_factory=dict)

    def _settings(self) -> dict[str, object]:
        variables: dict[str, object] = {}
        for file in FILES:
            variables |= file["services"]["kafka"]["environment"]
        return {
            name.removeprefix("KAFKA_").lower().replace("_", "."): self._placed(str(value))
            for name, value in variables.items()
            if name.startswith("KAFKA_") and name not in _OF_THE_SHELL
        }

    def _placed(self, value: str) -> str:
        """As compose fills it in, with this machine's places instead of the container's."""
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        value = value.replace("/etc/padellm/tls", str(self.certificates))
        value = value.replace("/var/lib/kafka/data", str(self._data_folder)).replace(
            "//kafka:", "//127.0.0.1:"
        )
        for listener, port in self.ports.items():
            value = re.sub(rf"{listener}://([\d.]*):\d+", rf"{listener}://\g<1>:{port}", value)
        return re.sub(r"1@127.0.0.1:\d+", f"1@127.0.0.1:{self.ports['CONTROLLER']}", value)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Those of a trial."""
    script = ROOT / "deploy" / "tls" / "make_certificates.sh"
    subprocess.run([script, tmp_path / "tls"], check=True, capture_output=True)
    return tmp_path / "tls"


@pytest.fixture
def external_port(tmp_path: Path, certificates: Path) -> Iterator[int]:
    """The port for programs on the host, of a broker that runs."""
    ports = dict(zip(("INTERNAL", "EXTERNAL", "PROBE", "CONTROLLER"), free_ports(4), strict=True))
    with Reaper() as reaper:
        service = ComposedKafka(
            folder=tmp_path / "kafka",
            cache=Settings().cache_dir,
            port=ports["PROBE"],  # where the health check asks
            controller_port=ports["CONTROLLER"],
            log_file=tmp_path / "kafka.log",
            certificates=certificates,
            ports=ports,
        )
        broker = RunningService(service, reaper)
        try:
            broker.start()
            yield ports["EXTERNAL"]
        finally:
            broker.stop()


async def test_compose_tls_takes_certificates_alone(
    external_port: int, certificates: Path, monkeypatch: pytest.MonkeyPatch
):
    """The overlay's own variables connect; without a certificate, or without TLS, nobody does."""
    for name, value in FILES[1]["services"]["topics"]["environment"].items():
        monkeypatch.setenv(name, value.replace("/etc/padellm/tls", str(certificates)))
    monkeypatch.setenv("BROKER", f"127.0.0.1:{external_port}")
    settings = Settings()
    assert set(await ensure_topics(settings)) == set(topic_names(settings))
    nameless = {"ssl_certificate_location": None, "ssl_key_location": None}
    with pytest.raises(PadellmError, match="asks for a certificate"):
        await missing_topics(settings.model_copy(update=nameless))
    clear = {"security_protocol": SecurityProtocol.PLAINTEXT, "ssl_ca_location": None}
    with pytest.raises(PadellmError, match="speaks TLS"):
        await missing_topics(settings.model_copy(update=nameless | clear))

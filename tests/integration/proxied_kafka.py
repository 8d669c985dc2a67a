"""A broker with a second listener, which sends its clients to a proxy before it."""

from dataclasses import dataclass

from stream.local.kafka import Kafka
from stream.local.ports import LOOPBACK


@dataclass(frozen=True)
class ProxiedKafka(Kafka):
    """A broker to which clients come directly, or through a proxy.

    Attributes:
        proxied_port: Port of the listener behind the proxy.
        proxy_port: Port of the proxy.
    """

    proxied_port: int = 0
    proxy_port: int = 0

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        protocols = "listener.security.protocol.map"
        behind, before = (f"PROXIED://{LOOPBACK}:{port}" for port in (self.proxied_port, self.proxy_port))
        return {
            **settings,
            "listeners": f"{settings['listeners']},{behind}",
            "advertised.listeners": f"{settings['advertised.listeners']},{before}",
            protocols: f"{settings[protocols]},PROXIED:PLAINTEXT",
        }

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

    def _properties(self) -> str:
        direct, controller = (
            f"PLAINTEXT://{self.bootstrap}",
            f"CONTROLLER://{LOOPBACK}:{self.controller_port}",
        )
        behind, before = (f"PROXIED://{LOOPBACK}:{port}" for port in (self.proxied_port, self.proxy_port))
        # Of two lines for one setting the later one counts.
        return (
            super()._properties() + f"listeners={direct},{controller},{behind}\n"
            f"advertised.listeners={direct},{before}\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT\n"
        )

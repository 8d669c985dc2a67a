"""Access to the broker: the one place that turns settings into the arguments of aiokafka's clients.

aiokafka 0.14 takes passwords and certificates once, when a client is made, and tells in its log alone why a
connection failed. Here each new connection reads them anew, and its failure is kept in words. Written against
``aiokafka.client.create_conn``, which makes every connection of every client.
"""

from typing import Any

from aiokafka import client, conn
from aiokafka.errors import KafkaConnectionError

from stream.kafka.connection import BrokerConnection
from stream.kafka.refusals import cause_in_words
from stream.settings import SaslMechanism, Settings
from stream.settings.protection import present
from stream.tls import TlsFiles


class BrokerAccess:
    """Arguments of aiokafka's clients, and the cause of their last failure to connect.

    Attributes:
        trouble: That cause and the setting to change; None after a connection that succeeded.

    Args:
        settings: Names servers, protection and login.

    Raises:
        ConfigurationError: A file that the settings name is missing, unreadable or wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = TlsFiles(
            "PADELLM_SSL",
            ca=settings.ssl_ca_location,
            certificate=settings.ssl_certificate_location,
            key=settings.ssl_key_location,
            password=lambda: present(settings, "ssl_key_password"),
        )
        self._tokens: Any = None
        if settings.sasl_mechanism is SaslMechanism.OAUTHBEARER:
            from stream.kafka.token import TokenSource  # noqa: PLC0415 - aiohttp, which only this login needs

            self._tokens = TokenSource(settings)
        self.trouble: str | None = None
        self._secrets()

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for each of aiokafka's clients; passwords are none of them."""
        return {
            "bootstrap_servers": self._settings.broker,
            "security_protocol": self._settings.security_protocol.value,
            "ssl_context": self._tls.context() if self._settings.security_protocol.encrypted else None,
            "sasl_mechanism": (self._settings.sasl_mechanism or SaslMechanism.PLAIN).value,
            "sasl_plain_username": "",
            "sasl_plain_password": "",
            # The only argument that aiokafka hands on unseen; ``connect`` fills in the others.
            "sasl_oauth_token_provider": self,
        }

    def explained(self, error: object) -> str:
        """Cause of the last failure to connect, in words; else the error's own."""
        return self.trouble or str(error) or type(error).__name__

    async def connect(self, host: str, port: int, **options: Any) -> BrokerConnection:
        """Connect to one broker with the present files and passwords.

        Raises:
            KafkaConnectionError: It failed; the message is the new ``trouble``.
        """
        connection = None
        try:
            connection = BrokerConnection(host, port, **options | self._secrets())
            await connection.connect()
        except Exception as error:
            if connection is not None:
                connection.close()
            if self._tokens is not None:
                self._tokens.forget()
            offered = connection.mechanisms if connection is not None else ()
            cause = cause_in_words(error, host, self._settings, self._tls, offered)
            self.trouble = f"{host}:{port}: {cause}"
            raise KafkaConnectionError(self.trouble) from error
        self.trouble = None
        return connection

    def _secrets(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "ssl_context": self._tls.context() if settings.security_protocol.encrypted else None,
            "sasl_plain_username": present(settings, "sasl_username"),
            "sasl_plain_password": present(settings, "sasl_password"),
            "sasl_oauth_token_provider": self._tokens,
        }


async def _create_conn(host: str, port: int, **options: Any) -> Any:
    """Connect through the access that a client was made with; other programs' clients as aiokafka does."""
    access = options.get("sasl_oauth_token_provider")
    if isinstance(access, BrokerAccess):
        return await access.connect(host, port, **options)
    return await conn.create_conn(host, port, **options)


client.create_conn = _create_conn

"""One connection to a broker, with what aiokafka 0.14 leaves out of a login.

- aiokafka takes a refused token for a login (RFC 7628: the server explains itself before it refuses).
- It forgets when the broker will end the session (KIP-368), and so loses requests in flight then.
- It logs passwords and tokens at debug level.
"""

import logging
import time
import weakref
from collections.abc import Awaitable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

_LEAVE_AT = 0.8  # of a session's life
_OWN_FAILURE = b"\x01"


class LoginWanted(KafkaConnectionError):  # type: ignore[misc]  # noqa: N818 - names what it is
    """The broker ends a connection that has not logged in."""


class BrokerConnection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped here
    """A connection that is closed between two requests before its session ends.

    Attributes:
        mechanisms: SASL mechanisms that the broker offers.
    """

    def __init__(self, host: str, port: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        self.mechanisms: tuple[str, ...] = ()
        self._leave_at: float | None = None

    async def connect(self) -> Any:
        """Connect and log in.

        Raises:
            LoginWanted: The port does not serve without a login.
            Exception: As aiokafka's, many kinds.
        """
        streams = await super().connect()
        if self._security_protocol in {"PLAINTEXT", "SSL"}:
            try:
                await self.send(MetadataRequest([]))
            except KafkaConnectionError as error:
                raise LoginWanted(str(error)) from error
        return streams

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Send a request; of a login's answers what is said beside them is noted."""
        answer: Awaitable[Any] = super().send(request, expect_response)
        if isinstance(request, SaslHandShakeRequest | SaslAuthenticateRequest):
            return self._noted(answer)
        return answer

    def authenticator_oauth(self) -> "_TokenAuthenticator":
        """Steps of a login with a token."""
        return _TokenAuthenticator(super().authenticator_oauth())

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        """Close at once; what was not sent is not acknowledged, so that its sender repeats it."""
        transport = self._writer.transport if self._writer is not None else None
        closed = super().close(reason, exc)
        if (
            transport is not None
        ):  # over TLS it would wait for the other end's farewell, beyond the loop's end
            transport.abort()
        return closed

    async def _noted(self, awaited: Awaitable[Any]) -> Any:
        answer = await awaited
        self.mechanisms = tuple(getattr(answer, "enabled_mechanisms", self.mechanisms))
        life = getattr(answer, "session_lifetime_ms", 0) / 1000 * _LEAVE_AT
        if life:
            self._leave_at = time.monotonic() + life
            self._loop.call_later(life, _leave_if_idle, weakref.ref(self))
        return answer

    def _handle_frame(self, response: bytes) -> None:
        super()._handle_frame(response)
        self.leave_if_idle()

    def leave_if_idle(self) -> None:
        """Close if the session is near its end and no request is unanswered: the next one connects anew."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at and not self._requests:
            self.close(reason=CloseReason.IDLE_DROP)


class _TokenAuthenticator:
    """aiokafka's, which ends after its first step, and the answer to a refusal."""

    def __init__(self, first: Any) -> None:
        self._first = first

    async def step(self, payload: bytes | None) -> tuple[Any, bool] | None:
        if payload:
            return _OWN_FAILURE, True
        request: tuple[Any, bool] | None = await self._first.step(payload)
        return request


class _WithoutSecrets(logging.Filter):
    """Drops the lines that hold a login's bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(
            getattr(each, "API_KEY", None) == SaslAuthenticateRequest.API_KEY for each in arguments
        )


logging.getLogger("aiokafka.conn").addFilter(_WithoutSecrets())


def _leave_if_idle(reference: "weakref.ref[BrokerConnection]") -> None:
    if (connection := reference()) is not None:
        connection.leave_if_idle()

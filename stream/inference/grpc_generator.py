"""gRPC client of one model server, whatever its protocol: slots, circuit breaker, retries, TLS, health."""

import asyncio
import itertools
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import grpc
import grpc.aio
import structlog

from stream import tracing
from stream.backoff import pauses
from stream.errors import (
    ConfigurationError,
    InferenceBreach,
    InferenceError,
    InferenceLost,
    InferenceOutage,
    InferenceRejected,
    InferenceSick,
    InferenceUnavailable,
    InferenceUnclear,
)
from stream.generation import Completion, Prompt, origin
from stream.inference.breaker import BreakerState, CircuitBreaker
from stream.inference.faults import kind_of_fault
from stream.settings import Settings
from stream.tls import TlsFiles, probe

_log = structlog.get_logger(__name__)

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A recovered server is found within about a second; gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Despite its name, this is the timeout of a connection attempt. A healthy server that is far away, or
    # busy on all cores, needs time for the handshake.
    ("grpc.min_reconnect_backoff_ms", 5000),
    # A connection that was dropped without a word is given up within 20 s, and not at each call's deadline.
    # Triton ends a connection on the fourth ping within five minutes in which it sent nothing
    # (--grpc-http2-max-ping-strikes 2, --grpc-http2-min-recv-ping-interval-without-data 300000). By then a
    # call has run into its deadline. Without a call there is no ping.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # what counts in gRPC 1.85; 60 s by default
    ("grpc.keepalive_permit_without_calls", 0),
)
_IDLE = 10.0  # seconds without an answer after which readiness is asked with a prompt
_HEALTH_DEADLINE = 2.5
_HEALTH_PROMPT = Prompt((0,), 1, 0)
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# Tries of one prompt during which the server may fail. A server that dies of it would do so again and again;
# one that is sick may answer every other prompt for a while.
_LOST_TRIES: dict[type[InferenceError], int] = {InferenceLost: 2, InferenceSick: 8}


def tls_of_servers(settings: Settings) -> TlsFiles | None:
    """This program's end of TLS to model servers; None for plain text."""
    if not settings.triton_ssl:
        return None
    return TlsFiles(
        "PADELLM_TRITON_SSL",
        ca=settings.triton_ssl_ca_location,
        certificate=settings.triton_ssl_certificate_location,
        key=settings.triton_ssl_key_location,
    )


async def connection_trouble(url: str, tls: TlsFiles | None) -> str | None:
    """Say why TLS, or its absence, keeps a client from the server; None where it does not."""
    host, _, port = url.rpartition(":")
    try:
        return await probe(host.strip("[]"), int(port), tls, "PADELLM_TRITON_SSL")
    except ConfigurationError as error:
        return str(error)


class GrpcGenerator(ABC):
    """A ``stream.generation.Generator`` over one model server; created and used in one event loop.

    Attributes:
        kind: What the server is called in messages.
        breaches: What its answers are held against, in messages.
        url: gRPC address, host:port.
        trouble: Cause, as far as it is TLS, for which the server was not reached last; None while it is.

    Args:
        url: gRPC address, host:port.
        host: Name that the server's certificate is held against; None: that of the address.
        tls: Files of this end; None for plain text. Files that were replaced are read by ``ready``.
        in_flight: Most concurrent requests; further ones are queued here.
        call_deadline: Timeout of one attempt in seconds; after it no retry is started.
        breaker_failures: Consecutive failures that open the circuit breaker.
        breaker_pause: Seconds that it stays open before a probe.
        on_breaker_change: Called with every new state of the breaker.
        on_lost: Called for every try during which the server failed while it had the prompt, in the context
            of the task that asked.

    Raises:
        ConfigurationError: A file of ``tls`` is missing, unreadable or wrong.
    """

    kind: ClassVar[str]
    breaches: ClassVar[str]

    def __init__(
        self,
        url: str,
        *,
        host: str | None = None,
        tls: TlsFiles | None = None,
        in_flight: int = 256,
        call_deadline: float = 30.0,
        breaker_failures: int = 5,
        breaker_pause: float = 2.0,
        on_breaker_change: Callable[[BreakerState], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self.url = url
        self._server = f"{self.kind} at {url}"
        self._deadline = call_deadline
        self._on_lost = on_lost
        self._slots = asyncio.Semaphore(in_flight)
        self._breaker = CircuitBreaker(
            self._server, failures=breaker_failures, pause=breaker_pause, on_change=on_breaker_change
        )
        # Unique among the clients of the server, and with no digit in front: TensorRT-LLM takes the number at
        # the beginning of an id for the whole id.
        client = secrets.token_hex(4)
        self._ids = (f"{client}-{number}" for number in itertools.count(1))
        self._calls = 0  # in flight
        self._answered_at = 0.0
        self._tls, self._host = tls, host
        self.trouble: str | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._connect()

    @abstractmethod
    def _speak(self, channel: grpc.aio.Channel) -> None:
        """Make the stubs of the protocol over a new connection."""

    @abstractmethod
    async def _says_ready(self) -> bool:
        """Ask the server whether it and its model are ready.

        Raises:
            grpc.aio.AioRpcError: It does not answer.
        """

    @abstractmethod
    async def _ask(self, prompt: Prompt, request_id: str, call: Mapping[str, Any]) -> Completion:
        """Ask the server to continue a prompt, once.

        Args:
            prompt: What to continue.
            request_id: Id of the request.
            call: Arguments of gRPC's call: its time-out and its metadata.

        Raises:
            grpc.aio.AioRpcError: The server did not answer.
            InferenceBreach: Its answer is not as the protocol has it.
            InferenceUnavailable: It does not say what it serves.
        """

    @property
    def breaker_state(self) -> BreakerState:
        """State of the circuit breaker."""
        return self._breaker.state

    async def generate(self, prompt: Prompt) -> Completion:
        """Continue one prompt.

        Calls to a full queue are retried until the deadline, with back-off and jitter. So are calls to a
        failing server, less often where it failed while it had the prompt.
        While the circuit breaker is open, a call waits for the next probe and fails with it: the caller
        decides how long to wait for the end of an outage.

        Raises:
            InferenceOutage: The circuit breaker is open, and its probe failed.
            InferenceLost: The server went away while it had the prompt, for the second time.
            InferenceSick: The server itself failed while it had the prompt, for the eighth time.
            InferenceUnavailable: The server failed, or its queue was full, until the deadline.
            InferenceTimeout: One attempt took longer than the deadline.
            InferenceUnclear: The server failed on the request, and does not say whose fault it was.
            InferenceBreach: Its answer is not as the contract has it.
            InferenceRejected: The server refused the request; a retry would be refused too.
        """
        tries = Tries(self._deadline)
        for pause in pauses(first=FIRST_PAUSE, longest=LONGEST_PAUSE):
            try:
                return await self.attempt(prompt)
            except InferenceOutage:
                raise
            except InferenceUnavailable as error:
                if tries.end_with(error):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def attempt(self, prompt: Prompt, *, waits: bool = True) -> Completion:
        """Try once to continue a prompt.

        Args:
            prompt: What to continue.
            waits: Whether it may wait for the end of an outage, as in ``CircuitBreaker.call``.

        Raises:
            InferenceError: As ``generate``, after one try.
        """
        async with self._slots:
            return await self._breaker.call(lambda: self._infer(prompt, self._deadline), waits=waits)

    async def until_back(self) -> None:
        """Return when the server has answered a prompt of one token; asks each time that the breaker lets."""
        while self._breaker.state is not BreakerState.CLOSED:
            with suppress(InferenceError):
                await self._breaker.call(self._one_token)

    def blame(self, error: InferenceUnclear) -> None:
        """Hold a refusal against the server: another one has answered the same prompt."""
        self._breaker.blame(error)

    async def ready(self) -> bool:
        """Ask whether server and model would serve a prompt now.

        A model whose executor is broken still reports itself ready. So a prompt of one token is sent too,
        when none is in flight and the last answer is old.
        """
        self._renew()
        try:
            if not await self._says_ready():
                return False
            if not self._calls and time.monotonic() - self._answered_at > _IDLE:
                await self._one_token()
        except (grpc.aio.AioRpcError, InferenceError):
            port = self.url.rpartition(":")[2]
            place = self.url if self._host is None else f"{self._host}:{port}"
            self.trouble = await connection_trouble(place, self._tls)
            return False
        self.trouble = None
        return True

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled, at the server too."""
        await self._channel.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _connect(self) -> None:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.url, options=_CHANNEL_OPTIONS)
        else:
            self._stamp = self._tls.stamp()
            authorities, key, chain = self._tls.pem()
            credentials = grpc.ssl_channel_credentials(authorities, key, chain)
            name = () if self._host is None else (("grpc.ssl_target_name_override", self._host),)
            self._channel = grpc.aio.secure_channel(self.url, credentials, options=_CHANNEL_OPTIONS + name)
        self._speak(self._channel)

    def _renew(self) -> None:
        """Connect anew after a file was replaced; calls in flight end on the old connection."""
        if self._tls is None or self._tls.stamp() == self._stamp:
            return
        old = self._channel
        try:
            self._connect()
        except ConfigurationError as error:
            _log.warning("replaced files not taken", cause=str(error), effect="the old connection stays")
            return
        closing = asyncio.create_task(old.close(self._deadline))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _one_token(self) -> None:
        """Ask for one token.

        Raises:
            InferenceUnavailable: It was not answered with a completion, for whatever reason.
        """
        try:
            await self._infer(_HEALTH_PROMPT, _HEALTH_DEADLINE)
        except InferenceRejected as error:
            raise InferenceSick(f"a prompt of one token is refused: {error}") from error

    async def _infer(self, prompt: Prompt, deadline: float) -> Completion:
        asked_for = origin.get()
        request_id = f"padellm/{'direct' if asked_for is None else asked_for.name}/{next(self._ids)}"
        self._calls += 1
        try:
            metadata = tuple(tracing.carrier().items()) or None
            completion = await self._ask(prompt, request_id, {"timeout": deadline, "metadata": metadata})
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, request_id) from error
        except InferenceBreach as breach:
            raise InferenceBreach(
                f"{self._server} breaks {self.breaches}: {breach} (request {request_id})"
            ) from breach
        finally:
            self._calls -= 1
        self._answered_at = time.monotonic()
        return completion

    def _translated(self, error: grpc.aio.AioRpcError, request_id: str) -> InferenceError:
        code, details = error.code(), error.details() or ""
        kind = kind_of_fault(code, details)
        if issubclass(kind, InferenceUnavailable):
            self._forget_model()
        if self.trouble is not None and code is grpc.StatusCode.UNAVAILABLE:
            return InferenceUnavailable(f"{self._server}: {self.trouble}")
        if kind in _LOST_TRIES and self._on_lost is not None:
            self._on_lost()
        return kind(f"{self._server} answered {code.name}: {details} (request {request_id})")

    def _forget_model(self) -> None:  # noqa: B027 - a server that names no model has nothing to forget
        """Note that what answers next may be another model."""


class Tries:
    """Bounds the tries of one prompt: by time, and by failures of a server while it had the prompt.

    Args:
        seconds: Time after which no further try is started.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._lost = 0

    def end_with(self, error: InferenceUnavailable) -> bool:
        """Count a failed try, and return whether it was the last."""
        kind = type(error)
        self._lost += kind in _LOST_TRIES
        return time.monotonic() > self._end or self._lost >= _LOST_TRIES.get(kind, self._lost + 1)

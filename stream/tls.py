"""This program's end of TLS: PEM files that may be replaced while it runs, and causes of failed handshakes.

Host names are always checked, and there is no way to connect without checking the other end's certificate.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stream.errors import ConfigurationError

_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_HOST = {62, 64}
# Answers of the other end that refuse a certificate, or miss one.
_ALERT = "ALERT"
_NO_CERTIFICATE = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "HANDSHAKE_FAILURE", "INTERNAL_ERROR")
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "RECORD_LAYER_FAILURE"}

_PROBE_LIMIT = 2.0

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    stamp: Stamp
    context: ssl.SSLContext
    expires: float


@dataclass(slots=True)
class TlsFiles:
    """PEM files of this program's end, read anew when one of them has changed.

    Attributes:
        prefix: Of the settings that name them, such as ``PADELLM_SSL``.
        ca: Authorities that sign the other end's certificate; None takes the system's.
        certificate: This program's certificate and its chain; None where the other end asks for none.
        key: Private key; None where it is beside the certificate.
        password: Returns the password of an encrypted key, None where there is none.
    """

    prefix: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    password: Callable[[], str | None] = lambda: None
    _loaded: _Loaded | None = field(default=None, repr=False)

    def stamp(self) -> Stamp:
        """Identity of the files' present content, to notice that one was replaced."""
        return tuple(_stamp(path) for path in (self.ca, self.certificate, self.key))

    def context(self) -> ssl.SSLContext:
        """Context over the present files.

        Raises:
            ConfigurationError: A file is missing, unreadable or not what it should be, or the certificate has
                expired; names the setting.
        """
        stamp = self.stamp()
        if self._loaded is None or self._loaded.stamp != stamp:
            self._loaded = _Loaded(stamp, *self._load())
        if self._loaded.expires < datetime.now(UTC).timestamp():
            end = datetime.fromtimestamp(self._loaded.expires, UTC)
            raise ConfigurationError(f"{self._certificate_place}: the certificate expired on {end:%Y-%m-%d}")
        return self._loaded.context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, private key and certificate chain as gRPC takes them; None where there is none.

        Raises:
            ConfigurationError: As ``context``.
        """
        self.context()  # reports in words what gRPC would pass over or hide
        key = self.key or self.certificate
        return (
            self.ca.read_bytes() if self.ca else None,
            key.read_bytes() if key else None,
            self.certificate.read_bytes() if self.certificate else None,
        )

    @property
    def _certificate_place(self) -> str:
        return f"{self.prefix}_CERTIFICATE_LOCATION={self.certificate}"

    @property
    def _key_place(self) -> str:
        return f"{self.prefix}_KEY_LOCATION={self.key}" if self.key else self._certificate_place

    def _load(self) -> tuple[ssl.SSLContext, float]:
        context = self._trusting_context()
        if self.certificate is None:
            return context, float("inf")
        _read(self.certificate, self._certificate_place)
        try:
            # The only reader of a certificate in the standard library.
            decoded = ssl._ssl._test_decode_cert(str(self.certificate))  # type: ignore[attr-defined]  # noqa: SLF001
        except ssl.SSLError:
            raise ConfigurationError(f"{self._certificate_place} holds no PEM certificate") from None
        self._load_key(context, self.certificate)
        return context, ssl.cert_time_to_seconds(decoded["notAfter"])

    def _trusting_context(self) -> ssl.SSLContext:
        if self.ca is None:
            return ssl.create_default_context()
        place = f"{self.prefix}_CA_LOCATION={self.ca}"
        _read(self.ca, place)
        try:
            return ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError:
            raise ConfigurationError(f"{place} holds no PEM certificate") from None

    def _load_key(self, context: ssl.SSLContext, certificate: Path) -> None:
        pem = _read(self.key or certificate, self._key_place)
        if b"PRIVATE KEY-----" not in pem:
            raise ConfigurationError(f"{self._key_place} holds no PEM private key")
        encrypted = b"ENCRYPTED" in pem
        password = self.password() if encrypted else None
        if encrypted and password is None:
            raise ConfigurationError(
                f"{self._key_place}: the private key is encrypted; set {self.prefix}_KEY_PASSWORD"
            )
        try:
            # With a password, since OpenSSL would ask the terminal for one.
            context.load_cert_chain(certificate, self.key, lambda: password or "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                cause = f"the private key does not belong to {self._certificate_place}"
            elif encrypted:
                cause = f"the private key cannot be decrypted: {self.prefix}_KEY_PASSWORD is wrong"
            else:
                cause = "the private key cannot be read; it must be PEM"
            raise ConfigurationError(f"{self._key_place}: {cause}") from None


def handshake_trouble(error: OSError, host: str, files: TlsFiles) -> str | None:
    """Say in words why a TLS connection failed.

    Args:
        error: Raised by the handshake, or by the first read behind it: there the other end refuses a client's
            certificate in TLS 1.3.
        host: Name or address that was connected to.
        files: This end's.

    Returns:
        Cause and setting, to be put behind the address; None where the error is none of TLS.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _refused_here(error, host, files)
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or ""
    if reason in _NO_TLS or isinstance(error, ssl.SSLEOFError):
        return "the port does not speak TLS: connect to the TLS port, or set the protocol to one without TLS"
    if _ALERT in reason:
        return _refused_there(reason, files)
    return f"TLS failed: {reason or error}"


async def probe(host: str, port: int, files: TlsFiles | None, switch: str) -> str | None:
    """Shake hands once, for a client whose own errors hide why it cannot connect; nothing else is sent.

    Args:
        host: Name or address of the server.
        port: Its port.
        files: The client's end; None where it speaks plain text.
        switch: Setting that turns TLS on and off.

    Returns:
        Cause and setting; None where TLS is not the cause.
    """
    context = files.context() if files is not None else _unchecked()
    context.set_alpn_protocols(["h2"])
    answered = False
    try:
        async with asyncio.timeout(_PROBE_LIMIT):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                answered = bool(await reader.read(1))  # behind the handshake TLS 1.3 refuses a certificate
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        return _probe_failed(error, host, files, switch)
    if files is None:
        return _wants_tls(switch)
    if answered:
        return None
    setting = f"{files.prefix}_CERTIFICATE_LOCATION"
    if files.certificate is None:
        return f"the server ends the connection behind the handshake: it asks for a certificate, {setting}"
    return f"the server ends the connection behind the handshake: it refuses {setting}={files.certificate}"


def _probe_failed(error: OSError, host: str, files: TlsFiles | None, switch: str) -> str | None:
    if files is None:
        no_tls = not isinstance(error, ssl.SSLError) or (error.reason or "") in _NO_TLS
        return None if no_tls else _wants_tls(switch)
    if isinstance(error, ConnectionResetError):
        return f"the port ends the TLS handshake: does it speak TLS, as {switch} says?"
    return handshake_trouble(error, host, files)


def _wants_tls(switch: str) -> str:
    return f"the port speaks TLS: set {switch}=true"


def _unchecked() -> ssl.SSLContext:
    """A context to find out if a port speaks TLS; what it connects to is told nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _refused_here(error: ssl.SSLCertVerificationError, host: str, files: TlsFiles) -> str:
    if error.verify_code == _EXPIRED:
        return "the server's certificate has expired: renew it there"
    if error.verify_code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: compare the clocks"
    if error.verify_code in _WRONG_HOST:
        return f"the server's certificate is not for {host}: connect to a name that it holds"
    setting = f"{files.prefix}_CA_LOCATION"
    trusted = f"{setting}={files.ca}" if files.ca else f"the system's authorities (set {setting})"
    return f"the server's certificate is not signed by {trusted}: {error.verify_message}"


def _refused_there(reason: str, files: TlsFiles) -> str:
    setting = f"{files.prefix}_CERTIFICATE_LOCATION"
    if files.certificate is not None:
        return f"the server refuses the certificate of {setting}={files.certificate} ({reason})"
    if any(each in reason for each in _NO_CERTIFICATE):
        return f"the server asks for a certificate: set {setting} ({reason})"
    return f"the server ends TLS with {reason}"


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path, place: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be read: {error.strerror}") from None

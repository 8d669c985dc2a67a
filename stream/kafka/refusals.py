"""Causes of connections to a broker that failed, in words, each with the setting to change."""

import asyncio
from collections.abc import Iterator, Sequence

from aiokafka.errors import IllegalSaslStateError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from stream.errors import PadellmError
from stream.kafka.connection import LoginWanted
from stream.settings import Settings
from stream.settings.values import variable
from stream.tls import TlsFiles, handshake_trouble

_TLS_ALERT = 0x15  # first byte of a TLS alert, which a plain-text client reads as a length


def cause_in_words(
    error: Exception, host: str, settings: Settings, files: TlsFiles, offered: Sequence[str]
) -> str:
    """Say why a connection failed, and name the setting to change.

    Args:
        error: Raised while connecting.
        host: Name or address that was connected to.
        settings: That the connection was made with.
        files: Its end of TLS.
        offered: SASL mechanisms that the broker has named.
    """
    if isinstance(error, PadellmError):
        return str(error)
    cause = _login_cause(error, settings, offered) or _protocol_cause(error, host, settings, files)
    if cause is None and isinstance(error, TimeoutError):
        return "no answer in time"
    return cause or next((str(each) for each in (*_chain(error),)[::-1] if str(each)), type(error).__name__)


def _login_cause(error: Exception, settings: Settings, offered: Sequence[str]) -> str | None:
    protocol = settings.security_protocol
    if isinstance(error, SaslAuthenticationFailed):
        return _refused_login(error, settings)
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"PADELLM_SASL_MECHANISM={settings.sasl_mechanism} is not offered, but {', '.join(offered)}"
    if isinstance(error, IllegalSaslStateError):
        without = "SSL" if protocol.encrypted else "PLAINTEXT"
        return f"the port takes no login: set PADELLM_SECURITY_PROTOCOL={without}, or connect to another"
    if isinstance(error, LoginWanted):
        fix = "SASL_SSL" if protocol.encrypted else "SASL_PLAINTEXT"
        return f"the broker ends the connection: it wants a login, PADELLM_SECURITY_PROTOCOL={fix}"
    return None


def _refused_login(error: SaslAuthenticationFailed, settings: Settings) -> str:
    answer = ", ".join(map(str, error.args))
    if settings.sasl_oauthbearer_client_id is not None:
        return (
            f"the broker refuses the token of client {settings.sasl_oauthbearer_client_id} ({answer}): "
            "check PADELLM_SASL_OAUTHBEARER_SCOPE, and the life, issuer and audience that the broker expects"
        )
    password = "sasl_password_file" if settings.sasl_password_file else "sasl_password"
    user = "sasl_username_file" if settings.sasl_username_file else "sasl_username"
    return (
        f"the broker refuses {variable(user)}={getattr(settings, user)} with {settings.sasl_mechanism}: "
        f"check {variable(password)} ({answer})"
    )


def _protocol_cause(error: Exception, host: str, settings: Settings, files: TlsFiles) -> str | None:
    protocol = settings.security_protocol
    causes = tuple(_chain(error))
    if protocol.encrypted:
        troubles = (handshake_trouble(each, host, files) for each in causes if isinstance(each, OSError))
        if (trouble := next(filter(None, troubles), None)) is not None:
            return trouble
        if any(isinstance(each, ConnectionResetError) for each in causes):
            return (
                f"the port ends the TLS handshake of PADELLM_SECURITY_PROTOCOL={protocol}: is it a TLS port?"
            )
    elif any(_is_tls_alert(each) for each in causes):
        fix = "SASL_SSL" if protocol.login else "SSL"
        return f"the port speaks TLS: set PADELLM_SECURITY_PROTOCOL={fix}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, and so on."""
    yield error
    if error.__cause__ is not None:
        yield from _chain(error.__cause__)


def _is_tls_alert(error: BaseException) -> bool:
    return (
        isinstance(error, asyncio.IncompleteReadError)
        and error.expected is not None
        and error.expected >> 24 == _TLS_ALERT
    )

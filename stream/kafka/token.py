"""Access tokens for SASL/OAUTHBEARER, by OAuth 2 client credentials (RFC 6749, section 4.4)."""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiokafka.abc import AbstractTokenProvider

from stream.errors import ConfigurationError, DeliveryError
from stream.settings import Settings
from stream.settings.protection import present
from stream.tls import TlsFiles, handshake_trouble

_TIMEOUT = 10.0
_REFRESH_AT = 0.8  # of a token's life
_LIFE_UNKNOWN = 60.0
_LONGEST_REASON = 200
_OK = 200


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    refresh_at: float


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped here
    """Tokens of one client, each used until four fifths of its life are over.

    Args:
        settings: Names endpoint, client, scope and extensions.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = str(settings.sasl_oauthbearer_token_endpoint_url)
        self._tls = TlsFiles("PADELLM_HTTPS", ca=settings.https_ca_location)
        self._token: _Token | None = None

    async def token(self) -> str:
        """A token that is valid now.

        Raises:
            DeliveryError: The endpoint does not answer, refuses the client, or gives no valid token.
            ConfigurationError: The file of the secret or of the authorities cannot be read.
        """
        if self._token is None or self._token.refresh_at < time.monotonic():
            self._token = self._checked(await self._fetch())
        return self._token.text

    def forget(self) -> None:
        """Ask for a new token next time: the broker has refused this one."""
        self._token = None

    def extensions(self) -> dict[str, str]:
        """SASL extensions by name, for services that route by them."""
        given = self._settings.sasl_oauthbearer_extensions
        pairs = [one.strip().partition("=") for one in given.split(",")] if given else []
        return {name: value for name, _, value in pairs}

    async def _fetch(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"}
        if self._settings.sasl_oauthbearer_scope:
            form["scope"] = self._settings.sasl_oauthbearer_scope
        client = str(self._settings.sasl_oauthbearer_client_id)
        secret = present(self._settings, "sasl_oauthbearer_client_secret") or ""
        login = {"Authorization": f"Basic {base64.b64encode(f'{client}:{secret}'.encode()).decode()}"}
        context = self._tls.context()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as session,
                # A redirect could lead the secret elsewhere.
                session.post(
                    self._url, data=form, headers=login, ssl=context, allow_redirects=False
                ) as answer,
            ):
                return self._read(answer.status, await answer.read())
        except TimeoutError:
            raise DeliveryError(
                f"the token endpoint {self._url} gave no answer for {_TIMEOUT:.0f} s"
            ) from None
        except aiohttp.ClientError as error:
            raise DeliveryError(f"no token from {self._url}: {self._cause(error)}") from error

    def _cause(self, error: aiohttp.ClientError) -> str:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        host = str(getattr(error, "host", "its host"))
        trouble = handshake_trouble(inner, host, self._tls) if isinstance(inner, OSError) else None
        return trouble or str(inner or error)

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status == _OK and isinstance(answer, dict) and isinstance(answer.get("access_token"), str):
            return answer
        reason = answer.get("error", "") if isinstance(answer, dict) else ""
        raise DeliveryError(
            f"the token endpoint {self._url} answered {status} {str(reason)[:_LONGEST_REASON]}".rstrip()
            + f" to client {self._settings.sasl_oauthbearer_client_id}: check "
            "PADELLM_SASL_OAUTHBEARER_CLIENT_ID, its secret and PADELLM_SASL_OAUTHBEARER_SCOPE"
        )

    def _checked(self, answer: dict[str, Any]) -> _Token:
        text = answer["access_token"]
        expiry = _expiry(text)
        left = None if expiry is None else expiry - time.time()
        if left is not None and left <= 0:
            raise DeliveryError(
                f"the token endpoint {self._url} gave a token that has expired: compare the clocks"
            )
        if "\x01" in text:
            raise ConfigurationError(f"the token endpoint {self._url} gave no bearer token")
        stated = answer.get("expires_in")
        life = float(stated) if isinstance(stated, int | float) else (left or _LIFE_UNKNOWN)
        return _Token(text, time.monotonic() + _REFRESH_AT * min(life, left or life))


def _expiry(token: str) -> float | None:
    """Time at which a JSON Web Token expires, unverified; None where it is none or does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None

"""Client of a schema registry with Confluent's REST API, as Apicurio, Karapace and Redpanda have it too.

A registry that is away, refuses the login or answers nonsense is an outage. A schema is unknown only where
the registry says so with its own error code: a proxy's 404, or a wrong path, must not make dead letters.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from stream.errors import ConfigurationError, RegistryUnavailable
from stream.settings import Settings
from stream.settings.protection import present
from stream.tls import TlsFiles, handshake_trouble

_TIMEOUT = 10.0
_LARGEST_ANSWER = 4 * 1024 * 1024
_MOST_REFERENCES = 100
_LONGEST_REASON = 300
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_OK = 200
_NOT_FOUND = 404
_REFUSES_LOGIN = {401, 403}
_REFUSES_SCHEMA = {409, 422}
_ABSENT = {40401, 40402, 40403}  # of a subject, a version, a schema


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema in the registry.

    Attributes:
        kind: ``AVRO``, ``JSON`` or ``PROTOBUF``.
        text: As it was registered.
        references: Texts of the schemas that it builds on, each behind those that it builds on itself.
    """

    kind: str
    text: str
    references: tuple[str, ...] = ()


class SchemaRegistry:
    """One registry; used in one event loop, and closed.

    Args:
        settings: Name the registry, its protection and the login.

    Raises:
        ConfigurationError: A file that the settings name is missing, unreadable or wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.url = str(settings.schema_registry_url)
        self._tls = TlsFiles(
            "PADELLM_SCHEMA_REGISTRY_SSL",
            ca=settings.schema_registry_ssl_ca_location,
            certificate=settings.schema_registry_ssl_certificate_location,
            key=settings.schema_registry_ssl_key_location,
        )
        self._session: aiohttp.ClientSession | None = None
        self._access()

    async def schema(self, schema_id: int) -> RegisteredSchema | None:
        """The schema with an id, and those that it builds on; None where the registry has none.

        Raises:
            RegistryUnavailable: The registry does not answer as one.
            ConfigurationError: A file of the login or of TLS cannot be read.
        """
        answer = await self._ask("GET", f"/schemas/ids/{schema_id}")
        return None if answer is None else await self._whole(answer)

    async def id_of(self, subject: str, schema: RegisteredSchema) -> int | None:
        """The id of a schema under a subject; None where it is not registered there.

        Raises:
            RegistryUnavailable, ConfigurationError: As ``schema``.
        """
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}", schema)
        return None if answer is None else self._id_in(answer)

    async def register(self, subject: str, schema: RegisteredSchema) -> int:
        """Register a schema under a subject, unless it is there, and return its id.

        Raises:
            RegistryUnavailable: As ``schema``.
            ConfigurationError: As ``schema``; or the subject's rule of compatibility refuses the schema.
        """
        answer = await self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", schema)
        if answer is None:
            raise RegistryUnavailable(f"{self._name} has no path for subjects: correct the address")
        return self._id_in(answer)

    async def check(self) -> None:
        """Ask for the kinds of schemas, which every registry answers.

        Raises:
            RegistryUnavailable, ConfigurationError: As ``schema``.
        """
        await self._ask("GET", "/schemas/types")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def _name(self) -> str:
        return f"the schema registry at {self.url}"

    def _access(self) -> dict[str, Any]:
        """Login and TLS of one request, from the present files."""
        user = present(self._settings, "schema_registry_username")
        password = present(self._settings, "schema_registry_password")
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Accept": _MEDIA_TYPE} | ({"Authorization": f"Basic {login}"} if user else {})
        return {"headers": headers, "ssl": self._tls.context() if self.url.startswith("https:") else True}

    async def _whole(self, answer: Any) -> RegisteredSchema:
        text, texts = self._text_in(answer), list[str]()
        try:
            await self._collect(answer, texts, set())
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryUnavailable(f"{self._name} answered with references that name no schema") from error
        return RegisteredSchema(answer.get("schemaType") or "AVRO", text, tuple(texts))

    async def _collect(self, answer: Any, texts: list[str], seen: set[tuple[str, int]]) -> None:
        """Add the texts that a schema builds on, the deepest first."""
        for reference in answer.get("references") or ():
            subject, version = str(reference["subject"]), int(reference["version"])
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > _MOST_REFERENCES:
                raise RegistryUnavailable(f"{self._name} names more than {_MOST_REFERENCES} references")
            found = await self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if found is None:
                raise RegistryUnavailable(f"{self._name} lacks version {version} of {subject}, a reference")
            await self._collect(found, texts, seen)
            texts.append(self._text_in(found))

    async def _ask(self, method: str, path: str, schema: RegisteredSchema | None = None) -> Any:
        """The answer to a request; None where what it asks for is not in the registry."""
        body = None if schema is None else {"schemaType": schema.kind, "schema": schema.text}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT))
        try:
            async with self._session.request(
                method,
                self.url + path,
                json=body,
                allow_redirects=False,  # a redirect could lead the password elsewhere
                **self._access(),
            ) as answer:
                return self._read(answer.status, await _bounded(answer.content))
        except TimeoutError:
            raise RegistryUnavailable(f"{self._name} gave no answer for {_TIMEOUT:.0f} s") from None
        except aiohttp.ClientError as error:
            raise RegistryUnavailable(f"{self._name} does not answer: {self._cause(error)}") from error

    def _read(self, status: int, body: bytes) -> Any:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status == _OK and answer is not None:
            return answer
        details = answer if isinstance(answer, dict) else {}
        if status == _NOT_FOUND and details.get("error_code") in _ABSENT:
            return None
        message = str(details.get("message", ""))[:_LONGEST_REASON]
        if status in _REFUSES_LOGIN:
            raise RegistryUnavailable(
                f"{self._name} answered {status}: check PADELLM_SCHEMA_REGISTRY_USERNAME, its password and "
                "its rights"
            )
        if status in _REFUSES_SCHEMA:
            raise ConfigurationError(f"{self._name} refuses the schema: {message or status}")
        raise RegistryUnavailable(
            f"{self._name} answered {status} {message}".rstrip()
            + ": is PADELLM_SCHEMA_REGISTRY_URL the path of "
            "Confluent's API, such as https://host/apis/ccompat/v7 of Apicurio?"
        )

    def _id_in(self, answer: Any) -> int:
        schema_id = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(schema_id, int):
            raise RegistryUnavailable(f"{self._name} answered without an id")
        return schema_id

    def _text_in(self, answer: Any) -> str:
        text = answer.get("schema") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise RegistryUnavailable(f"{self._name} answered without a schema")
        return text

    def _cause(self, error: aiohttp.ClientError) -> str:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        host = str(getattr(error, "host", "its host"))
        trouble = handshake_trouble(inner, host, self._tls) if isinstance(inner, OSError) else None
        return trouble or str(inner or error)


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async for chunk in content.iter_chunked(65_536):
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise RegistryUnavailable(f"the schema registry's answer has more than {_LARGEST_ANSWER:,} bytes")
    return body

"""Names of variables, and the forms of the values that they take."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from platformdirs import user_cache_path
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_settings import NoDecode

from stream.contract.pointers import Pointer

PREFIX = "PADELLM_"
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_DNS = "dns:///"  # as gRPC writes a name that stands for several addresses
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/,\[\]]+):[0-9]{1,5}")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names and addresses that only this machine reaches."""


def variable(name: str) -> str:
    """The variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def in_files(names: Iterable[str]) -> frozenset[str]:
    """Settings whose value a file may hold: another setting has the same name and ``_file`` behind it."""
    given = frozenset(names)
    return frozenset(name for name in given if f"{name}_file" in given)


def user_cache_folder() -> Path:
    """``PADELLM_CACHE_DIR``, or else ``padellm`` in the user's cache folder, as the system has it."""
    return Path(os.environ.get("PADELLM_CACHE_DIR") or user_cache_path("padellm", appauthor=False))


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        raise ValueError("a topic's name has letters, digits, '.', '_' and '-', at most 249 of them")
    return name


def _worker_id(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        raise ValueError("a worker's id has letters, digits, '.', '_' and '-', at most 249 of them")
    return name


def _address(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise ValueError("expected host:port, without a scheme such as http://")
    return text


def _addresses(text: str) -> str:
    for one in text.split(","):
        _address(one.strip())
    return text


def _servers(text: str) -> str:
    for one in text.split(","):
        _address(one.strip().removeprefix(_DNS))
    return text


def _token_endpoint(text: str) -> str:
    """Check the address of a token endpoint; the message repeats no password that it may hold."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.password:
        raise ValueError("expected https://host/path, without a name or password in it")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError("http:// would send the client's secret in clear text: use https://")
    return text


def _http_address(text: str) -> str:
    """Check the address of a registry or a collector; the message repeats no password that it may hold."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.password or url.query:
        raise ValueError("expected https://host/path, without a name or password in it")
    return text.rstrip("/")


def _extensions(text: str) -> str:
    for one in text.split(","):
        name, equals, _ = one.strip().partition("=")
        if not equals or not name.isalpha() or name == "auth":
            raise ValueError("expected name=value, separated by commas; names have letters alone")
    return text


def as_list(given: Any) -> Any:
    """The items of a variable: separated by commas, or a JSON list where an item has a comma itself."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text.startswith("["):
        return json.loads(text)
    return [item.strip() for item in text.split(",")] if text else []


def as_variable(items: Sequence[str]) -> str:
    """The items of a setting as its variable has them."""
    plain = all(item and "," not in item for item in items)
    return ",".join(items) if plain else json.dumps(list(items))


def _distinct(pointers: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(pointers)) < len(pointers):
        raise ValueError("a pointer is there twice")
    return pointers


Topic = Annotated[str, AfterValidator(_topic)]
WorkerId = Annotated[str, AfterValidator(_worker_id)]
Brokers = Annotated[str, AfterValidator(_addresses)]
Servers = Annotated[str, AfterValidator(_servers)]
HttpAddress = Annotated[str, AfterValidator(_http_address)]
TokenEndpoint = Annotated[str, AfterValidator(_token_endpoint)]
SaslExtensions = Annotated[str, AfterValidator(_extensions)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pointers = Annotated[
    tuple[Pointer, ...],
    NoDecode,
    BeforeValidator(as_list),
    AfterValidator(_distinct),
    PlainSerializer(as_variable, when_used="json"),
]

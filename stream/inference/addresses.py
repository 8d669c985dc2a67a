"""Addresses of model servers: host:port each, or a DNS name that stands for several."""

import asyncio
import re
import socket
from dataclasses import dataclass

# As gRPC writes a name that is to be resolved.
_NAME = re.compile(r"dns:///(?P<host>[^\s:/,\[\]]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """A place where one server listens.

    Attributes:
        url: host:port.
        host: Name that it was found under; None where ``url`` itself was given.
    """

    url: str
    host: str | None = None


def changes(given: str) -> bool:
    """Return whether the servers of a setting may change while the program runs."""
    return any(_NAME.fullmatch(one) for one in split(given))


def split(given: str) -> list[str]:
    """The entries of a setting, each once."""
    return list(dict.fromkeys(one.strip() for one in given.split(",")))


async def resolve(given: str) -> list[Address]:
    """Find the servers of a setting.

    Args:
        given: Entries separated by commas: host:port, or dns:///name:port for every address of a name.

    Raises:
        OSError: A name has no address, or cannot be looked up now.
    """
    found: list[Address] = []
    for one in split(given):
        name = _NAME.fullmatch(one)
        found += [Address(one)] if name is None else await _addresses(name["host"], int(name["port"]))
    return list(dict.fromkeys(found))


async def _addresses(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no name of a host: {error}") from error
    hosts = sorted({str(answer[4][0]) for answer in answers})
    return [Address(f"[{one}]:{port}" if ":" in one else f"{one}:{port}", host) for one in hosts]

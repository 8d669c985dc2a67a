"""HTTP servers of the worker: the health endpoints and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web

from stream.errors import ConfigurationError

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, name: str, setting: str, **options: Any
) -> AsyncIterator[str]:
    """Serve an application; yields its address, without a slash at its end.

    Args:
        app: What answers.
        host: Where to listen.
        port: Where to listen; 0 is any free port.
        name: Of the server, for log and messages.
        setting: Variable that holds the port.
        options: Of aiohttp's ``AppRunner``.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"the {name} cannot listen on {host}:{port} ({error.strerror}): "
                f"set {setting} to a free port, or to 0 for any"
            ) from error
        address = f"http://{host}:{runner.addresses[0][1]}"
        _log.info(name, address=address)
        yield address
    finally:
        await runner.cleanup()

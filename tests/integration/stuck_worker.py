"""The scripted worker with a planted bug: the event of the document ``doc-0`` is never acknowledged."""

import asyncio
from typing import Any

from stream.settings import Settings
from stream.worker import app
from stream.worker.publisher import Outgoing, Publisher
from tests.integration.scripted_worker import _make

_publish = Publisher.publish


async def _publish_or_hang(self: Publisher, message: Outgoing) -> Any:
    if message.key == b"doc-0":
        await asyncio.Event().wait()
    return await _publish(self, message)


if __name__ == "__main__":
    Publisher.publish = _publish_or_hang
    app._LATE_MARGIN, app._STUCK_MARGIN = 1.0, 4.0
    app.run(Settings(), make=_make)

"""The event loop that serves."""

from typing import Any


def loop_factory() -> Any:
    """That of uvloop, which saves a fifth to a third of the time of asyncio's own, where it can be had."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop

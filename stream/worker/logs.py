"""JSON logs on stderr: ours, Faust's and aiokafka's alike, with the document in question."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from stream.contract.record import Record
from stream.settings import LogLevel

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "aiohttp")


def configure_logs(level: LogLevel) -> None:
    """Send every log line to stderr as one JSON object.

    Args:
        level: The least severe lines to write; those of libraries from warning on, unless it is debug.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel("DEBUG" if level is LogLevel.DEBUG else "WARNING")
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


@contextmanager
def about(record: Record) -> Iterator[None]:
    """Add the record's position to every line that is logged inside."""
    with structlog.contextvars.bound_contextvars(
        topic=record.topic, partition=record.partition, offset=record.offset
    ):
        yield

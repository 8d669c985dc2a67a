"""JSON logs on stderr: ours, Faust's and aiokafka's alike, with the document in question."""

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

from stream import tracing
from stream.contract.headers import trace_of
from stream.contract.record import Record
from stream.settings import LogLevel

_record: ContextVar[Record | None] = ContextVar("record", default=None)


def _add_position(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if (record := _record.get()) is not None:
        line.update(topic=record.topic, partition=record.partition, offset=record.offset)
        if trace := tracing.carrier() or trace_of(record):
            line["trace_id"] = trace["traceparent"].split("-")[1]
    return line


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_position,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "aiohttp")


def configure_logs(level: LogLevel, *, for_good: bool = True) -> None:
    """Send every log line to stderr as one JSON object.

    Args:
        level: The least severe lines to write; those of libraries from warning on, unless it is debug.
        for_good: Let each logger remember this, which is faster, and cannot be undone in this process.
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
        # A line below the level costs one call that does nothing: there is one for each document.
        wrapper_class=structlog.make_filtering_bound_logger(level.value),
        cache_logger_on_first_use=for_good,
    )


def about(record: Record) -> None:
    """Add the record's position to every line that this task and the tasks of its making log from now on."""
    _record.set(record)

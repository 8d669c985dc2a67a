"""JSON logs on stderr: ours, Faust's and aiokafka's alike, with the document at hand."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from stream.contract.record import Record
from stream.errors import ConfigurationError

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
_LEVELS = ("debug", "info", "warning", "error")
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "aiohttp")


def configure_logs(level: str) -> None:
    """Send every log line to stderr as one JSON object.

    Args:
        level: debug, info, warning or error. Libraries speak from warning on, unless debug is asked for.

    Raises:
        ConfigurationError: There is no such level.
    """
    if level not in _LEVELS:
        raise ConfigurationError(f"PADELLM_LOG_LEVEL is {level!r}; expected one of {', '.join(_LEVELS)}")
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
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


@contextmanager
def about(record: Record) -> Iterator[None]:
    """Every line logged inside names the record."""
    with structlog.contextvars.bound_contextvars(
        topic=record.topic, partition=record.partition, offset=record.offset
    ):
        yield

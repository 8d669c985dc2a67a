"""Settings of every command, read from the environment."""

from stream.settings.choices import (
    Delivery,
    EventEncoding,
    Inference,
    LogLevel,
    RecordEncoding,
    RecordFormat,
    SaslMechanism,
    SecurityProtocol,
)
from stream.settings.settings import Settings

__all__ = [
    "Delivery",
    "EventEncoding",
    "Inference",
    "LogLevel",
    "RecordEncoding",
    "RecordFormat",
    "SaslMechanism",
    "SecurityProtocol",
    "Settings",
]

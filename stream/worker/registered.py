"""Values of a schema registry in the worker: an outage of the registry is waited out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stream.backoff import pauses
from stream.contract.messages import EntityEvent
from stream.contract.record import Record
from stream.errors import BadDocument, ConfigurationError, RegistryUnavailable
from stream.registry.values import RegistryValues
from stream.worker.codec import encode_event
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.strict_json import parts, without_space

PART = "schema_registry"
_PREPARATION = "prepare"
_LONGEST_PAUSE = 5.0
_Answer = TypeVar("_Answer")


class RegisteredValues:
    """Decodes records and encodes events as the settings say, for as long as the registry takes to answer.

    Args:
        values: Reads and writes values.
        metrics: Count the retries.
        status: Status of the registry.
    """

    def __init__(self, values: RegistryValues, metrics: WorkerMetrics, status: DependencyStatus) -> None:
        self._values = values
        self._metrics = metrics
        self._status = status

    async def prepare(self) -> None:
        """Return once the registry answers, and has the schema of the events."""
        await self._until_answered(_PREPARATION, self._values.prepare)

    async def document(self, record: Record) -> Record:
        """The record with its value in JSON.

        Raises:
            BadDocument: Its value is none of a schema that can be read.
        """
        operation = f"schema of {record.position}"
        return await self._until_answered(operation, lambda: self._values.document(record))

    async def event(self, event: EntityEvent, metadata: bytes) -> bytes:
        """The value of an event's record.

        Args:
            event: The event.
            metadata: Its metadata as they are spelled, a JSON object; empty where there are none.
        """
        text = encode_event(event, metadata)
        spelled = {json.loads(name): without_space(value).decode() for name, value in parts(metadata)}
        return await self._until_answered(
            "schema of the events", lambda: self._values.encoded(event, text, spelled)
        )

    async def _until_answered(self, operation: str, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        for pause in pauses(first=0.2, longest=_LONGEST_PAUSE):
            try:
                answer = await ask()
            except BadDocument:
                self._status.worked(operation)
                raise
            except (RegistryUnavailable, ConfigurationError) as error:
                self._metrics.retry(PART)
                self._status.failed(operation, error)
                await asyncio.sleep(pause)
            else:
                self._status.worked(operation)
                return answer
        raise AssertionError("pauses have no end")

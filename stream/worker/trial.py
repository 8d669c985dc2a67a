"""Records through the worker's own handler, with their outcomes handed back and nothing written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from stream.bundled import model_folder
from stream.contract.headers import read_dead_letter
from stream.contract.messages import DeadLetter, EntityEvent
from stream.contract.record import Record
from stream.errors import InferenceUnavailable
from stream.ner.template import PromptTemplate
from stream.registry.values import readable, registry_values
from stream.settings import EventEncoding, Inference, Settings
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import MakeGenerator, make_generator, serve_with
from stream.worker.publisher import Outgoing
from stream.worker.registered import PART, RegisteredValues


@dataclass(frozen=True, slots=True)
class Trial:
    """Attributes: ``record``, its value in JSON; ``outcome``, None where it holds no document."""

    record: Record
    outcome: EntityEvent | DeadLetter | None


async def try_records(
    records: Sequence[Record], settings: Settings, make: MakeGenerator = make_generator
) -> AsyncIterator[Trial]:
    """Outcomes of records, in their order.

    Raises:
        stream.errors.CheckpointError: The settings' model folder holds no model.
        InferenceUnavailable: The model does not answer.
        stream.errors.RegistryUnavailable: The schema registry does not answer.
    """
    metrics = WorkerMetrics()
    folder = model_folder(settings.model)
    generator = await make(settings, folder, metrics)
    # Events are handed back and not written, so that they need no schema.
    settings = settings.model_copy(update={"event_encoding": EventEncoding.JSON})
    values = registry_values(settings)
    outcomes = _Outcomes(settings)
    try:
        if not await generator.ready():
            raise InferenceUnavailable(_unavailable(settings))
        if values is not None:
            await values.prepare()
        model = serve_with(settings, PromptTemplate.load(folder), generator, metrics, lambda: None)
        registered = None
        if values is not None:
            registered = RegisteredValues(values, metrics, DependencyStatus(PART, metrics))
        handler = Handler(
            settings, model, outcomes, metrics, DependencyStatus("model", metrics), values=registered
        )
        for record in records:
            outcomes.last = None
            await _handled(handler, record, settings)
            yield Trial(await readable(record, values), outcomes.last)
    finally:
        await generator.close()
        if values is not None:
            await values.close()


async def _handled(handler: Handler, record: Record, settings: Settings) -> None:
    """Handle a record; a worker would wait for a model that goes away, and a trial ends."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(2 * settings.document_deadline):
            await handler.handle(record, loop.time())
    except TimeoutError as error:
        raise InferenceUnavailable(_unavailable(settings)) from error


def _unavailable(settings: Settings) -> str:
    if settings.inference is Inference.IN_PROCESS:
        return "the model in this process does not answer"
    return (
        f"no model answers at {settings.triton_url}: start one with padellm up, or set "
        "PADELLM_INFERENCE=in-process"
    )


class _Outcomes:
    """Outlet that keeps the last message."""

    def __init__(self, settings: Settings) -> None:
        self.largest = settings.max_message_bytes
        self.last: EntityEvent | DeadLetter | None = None

    async def publish(self, message: Outgoing, *_rows: Outgoing) -> None:
        letter = read_dead_letter(message.headers)
        self.last = letter or EntityEvent.model_validate_json(message.value or b"")

    async def pass_over(self, _record: Record) -> None:
        self.last = None

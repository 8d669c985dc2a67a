"""A second model that reads a share of the documents, each after its event, and what it finds otherwise.

Nothing of it holds the stream up: a document that finds all places taken is passed over and counted.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.bundled import model_folder
from stream.contract.messages import Entity, EntityEvent, ShadowDifference
from stream.errors import InferenceError
from stream.generation import Origin, origin
from stream.kafka.access import BrokerAccess
from stream.ner.template import PromptTemplate
from stream.offsets import OffsetUnit
from stream.settings import Settings
from stream.worker.codec import Decoded
from stream.worker.event_content import content_of
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel, count_prompts, serve_with

_log = structlog.get_logger(__name__)
_AT_ONCE = 8  # documents
_PATIENCE = 30.0  # seconds for the broker

Publish = Callable[[ShadowDifference], Awaitable[None]]


class Shadow:
    """Asks the second model about documents, and publishes what it finds otherwise.

    Args:
        model: The second model.
        publish: Publishes a difference.
        metrics: Count what becomes of the documents.
        share: Of the documents, chosen by their ids: always the same ones.
        deadline: Seconds for a document.
    """

    def __init__(
        self, model: ServedModel, publish: Publish, metrics: WorkerMetrics, *, share: float, deadline: float
    ) -> None:
        self._model = model
        self._publish = publish
        self._metrics = metrics
        self._share = share
        self._deadline = deadline
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, event: EntityEvent, decoded: Decoded) -> None:
        """Take a document whose event was published, if it is of the share and there is a place."""
        if _lot(event.document_id) >= self._share:
            return
        if len(self._tasks) >= _AT_ONCE:
            self._metrics.shadow("dropped")
            return
        # In a context of its own: its completions are no signs of life of the document.
        task = asyncio.create_task(self._look(event, decoded), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up the documents that it has."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, event: EntityEvent, decoded: Decoded) -> None:
        outcome = "failed"
        try:
            async with asyncio.timeout(self._deadline):
                found = await self._difference(event, decoded)
                if found is not None:
                    await self._publish(found)
            outcome = "same" if found is None else "different"
        except (InferenceError, KafkaError, OSError, TimeoutError) as error:
            _log.debug("shadow failed", document=event.document_id, cause=repr(error))
        finally:
            self._metrics.shadow(outcome)

    async def _difference(self, event: EntityEvent, decoded: Decoded) -> ShadowDifference | None:
        source = event.source
        origin.set(Origin(f"shadow/{source.topic}/{source.partition}/{source.offset}"))
        prompts = count_prompts()
        unit = event.offsets or OffsetUnit.CODE_POINTS
        content = await content_of(decoded, self._model.extractor.extract, unit)
        ours, theirs = _spans(event.entities), _spans(content.entities)
        missing = [one for span, one in ours.items() if span not in theirs]
        added = [one for span, one in theirs.items() if span not in ours]
        if not missing and not added:
            return None
        return ShadowDifference(
            event_id=event.event_id,
            document_id=event.document_id,
            source=source,
            model=event.model,
            shadow=self._model.made_by(prompts.model),
            missing=missing,
            added=added,
        )


@asynccontextmanager
async def shadow_of(settings: Settings, metrics: WorkerMetrics) -> AsyncIterator[Shadow | None]:
    """The shadow that the settings ask for; None where they name no server for it.

    Raises:
        stream.errors.CheckpointError: The second model's folder holds no model.
        stream.errors.ConfigurationError: A file for TLS is missing, unreadable or wrong.
    """
    if settings.shadow_triton_url is None:
        yield None
        return
    from stream.inference.servers import server_generator  # noqa: PLC0415 - half a second of gRPC

    folder = await asyncio.to_thread(model_folder, settings.shadow_model or settings.model)
    template = await asyncio.to_thread(PromptTemplate.load, folder)
    generator = server_generator(settings.model_copy(update={"triton_url": settings.shadow_triton_url}))
    # Metrics of its own: the worker's are of the model that makes the events.
    model = serve_with(settings, template, generator, WorkerMetrics(), lambda: None)
    topic = _DifferenceTopic(settings)
    shadow = Shadow(
        model,
        topic.publish,
        metrics,
        share=settings.shadow_share,
        deadline=settings.document_deadline,
    )
    try:
        yield shadow
    finally:
        await shadow.close()
        await topic.close()
        await generator.close()


class _DifferenceTopic:
    """Topic of the differences; the producer is started by the first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    async def publish(self, difference: ShadowDifference) -> None:
        """Send a difference, and return when the broker has it.

        Raises:
            KafkaError: The broker does not take it.
            TimeoutError: It does not answer.
        """
        async with asyncio.timeout(_PATIENCE):
            producer = await self._started()
            await producer.send_and_wait(
                self._settings.shadow_topic,
                key=difference.document_id.encode(),
                value=difference.model_dump_json().encode(),
                headers=[("content-type", b"application/json")],
            )

    async def close(self) -> None:
        """Stop sending."""
        if self._producer is not None:
            await self._producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **BrokerAccess(self._settings).options,
                    client_id=f"{self._settings.group}-shadow",
                    max_request_size=self._settings.max_message_bytes,
                )
                try:
                    await producer.start()
                except BaseException:  # a cancelled start leaves connections, too
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _lot(document_id: str) -> float:
    """Number in [0, 1) that a document's id stands for."""
    return int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8]) / 2**64


def _spans(entities: list[Entity]) -> dict[tuple[Any, ...], Entity]:
    return {(one.field, one.start, one.end, one.label): one for one in entities}

"""One record to its outcome, acknowledged by Kafka: an entity event or a dead letter, and never both."""

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from stream import tracing
from stream.contract.entity_rows import rows_of
from stream.contract.headers import event_headers, has_decodable_names, row_headers, trace_of
from stream.contract.messages import DeadLetter, EntityEvent, ModelInfo, Policy, Source
from stream.contract.reasons import Reason, Stage
from stream.contract.record import Record
from stream.errors import (
    BadDocument,
    InferenceBreach,
    InferenceCrash,
    InferenceError,
    InferenceTimeout,
)
from stream.generation import Origin, origin
from stream.offsets import OffsetUnit
from stream.settings import Inference, Settings
from stream.worker.codec import Decoded, decode, encode_event
from stream.worker.dead_letters import DeadLetters
from stream.worker.envelopes import NoDocument
from stream.worker.event_content import content_of
from stream.worker.extraction import RetryingExtractor
from stream.worker.health_state import DependencyStatus
from stream.worker.logs import about
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel
from stream.worker.outcome import Finished, Watch, nobody
from stream.worker.publisher import MessageTooLarge, Outgoing, Outlet
from stream.worker.registered import RegisteredValues
from stream.worker.repeats import RepeatLog
from stream.worker.shadow import Shadow

_log = structlog.get_logger(__name__)
_CANONICAL = json.JSONEncoder(sort_keys=True)
_EVENT_IDS = uuid.UUID("9d5f6c1e-52a7-5b0e-8a55-6f6d3f6f2c11")

_GIVEN_UP: tuple[tuple[type[InferenceError], Reason], ...] = (
    (InferenceTimeout, Reason.INFERENCE_TIMEOUT),
    (InferenceCrash, Reason.INFERENCE_CRASH),
    (InferenceBreach, Reason.INFERENCE_BREACH),
    (InferenceError, Reason.INFERENCE_REJECTED),
)


class _NoEvent(Exception):  # noqa: N818 - names what it is
    """No event can be made of a record."""

    def __init__(self, reason: Reason, message: str, *, stage: str = "", attempts: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = Stage(stage or reason.stage)
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class _Made:
    """Attributes: ``event``; ``messages`` that carry it and its rows; ``decoded``, the document it is of."""

    event: EntityEvent
    messages: list[Outgoing]
    decoded: Decoded


class Handler:
    """Takes records to their outcomes; any number at once.

    Args:
        settings: Effective settings.
        model: Answers.
        publisher: Takes the outcomes.
        metrics: Count them.
        status: Status of the model.
        values: Read and write values of a schema registry; None where the settings name none.
        watch: Called with each outcome.
        shadow: Takes documents whose event is published to a second model; None where there is none.
    """

    def __init__(
        self,
        settings: Settings,
        model: ServedModel,
        publisher: Outlet,
        metrics: WorkerMetrics,
        status: DependencyStatus,
        *,
        values: RegisteredValues | None = None,
        watch: Watch = nobody,
        shadow: Shadow | None = None,
    ) -> None:
        self._shadow = shadow
        self._watch = watch
        self._settings = settings
        self._model = model
        self._publisher = publisher
        self._metrics = metrics
        self._values = values
        self._repeats = RepeatLog(metrics)
        self._dead_letters = DeadLetters(settings, publisher, metrics)
        self._usual_question = self._question(None, None, None)
        self._extractor = RetryingExtractor(
            model, deadline=settings.document_deadline, metrics=metrics, status=status
        )

    async def handle(self, record: Record, fetched: float) -> None:
        """Return when Kafka has acknowledged the record's outcome; a record without a document has none.

        Args:
            record: The record.
            fetched: ``time.monotonic()`` when the worker got it.

        Raises:
            DeliveryError: The dead-letter topic takes the record in no form, or the publisher is closed.
        """
        about(record)
        if not tracing.exports():
            await self._handle(record, fetched)
            return
        attributes = _messaging_attributes(record, self._settings.group)
        with tracing.document_span(f"process {record.topic}", trace_of(record), attributes):
            await self._handle(record, fetched)

    async def _handle(self, record: Record, fetched: float) -> None:
        texts: Mapping[str | None, str] = {}
        outcome: EntityEvent | DeadLetter | None = None
        try:
            # Nothing is sent before the event is complete: an error up to here cannot follow an event.
            made = await self._event(record, time.monotonic() - fetched)
        except NoDocument as why:
            await self._publisher.pass_over(record)
            self._metrics.no_document()
            _log.debug("no document", why=str(why))
        except _NoEvent as no_event:
            tracing.fail(no_event.reason)
            outcome = await self._dead_letters.publish(
                record,
                no_event.reason,
                str(no_event),
                stage=no_event.stage,
                attempts=no_event.attempts,
            )
        else:
            outcome, texts = await self._publish(record, made), made.decoded.texts
        seconds = time.monotonic() - fetched
        self._metrics.stage("total", seconds)
        self._watch(Finished(record, outcome, seconds, texts))

    async def _event(self, record: Record, queued: float) -> _Made:
        """Make the event of a record, and the messages that carry it: its own, then its rows if asked for.

        Raises:
            NoDocument: The record holds none, and that is no fault.
            _NoEvent: The record becomes a dead letter.
        """
        stage = Stage.DECODE
        try:
            with tracing.step_span("decode"):
                decoded = await self._decoded(record)
            document = decoded.document
            unit = document.offsets or self._settings.offsets
            stage = Stage.INFERENCE
            # Each document has a task, and so a context, of its own.
            origin.set(Origin(record.position))
            structlog.contextvars.bind_contextvars(document_id=document.id)
            content = await content_of(decoded, self._extractor.extract, unit)
            stage = Stage.PUBLISH
            made_by = self._model.made_by(content.model)
            event = EntityEvent(
                event_id=self._event_id(record, decoded, unit, made_by),
                document_id=document.id,
                source=Source(topic=record.topic, partition=record.partition, offset=record.offset),
                model=made_by,
                labels=content.labels,
                entities=content.entities,
                removed=content.removed,
                coverage=content.coverage,
                timings={
                    stage: round(milliseconds, 3)
                    for stage, milliseconds in {"queue": queued * 1000, **content.timings}.items()
                },
                metadata=document.metadata,
                offsets=None if unit is OffsetUnit.CODE_POINTS else unit,
                fields=content.fields,
            )
            return _Made(event, await self._messages(event, decoded.metadata, record), decoded)
        except NoDocument:
            raise
        except BadDocument as bad:
            raise _NoEvent(Reason(bad.reason), str(bad)) from bad
        except InferenceError as error:
            reason = next(reason for kind, reason in _GIVEN_UP if isinstance(error, kind))
            words = str(error)
            if reason is Reason.INFERENCE_REJECTED:
                words = f"the model refuses the document or fails on it: {words}"
            by_prompt = "" if reason is Reason.INFERENCE_TIMEOUT else error.stage
            raise _NoEvent(reason, words, stage=by_prompt, attempts=error.attempts) from error
        except Exception as error:  # no document is lost for any error
            _log.exception("unexpected error")
            raise _NoEvent(
                Reason.INTERNAL_ERROR,
                f"a fault of this service: {type(error).__name__}: {error}",
                stage=stage,
            ) from error

    async def _messages(self, event: EntityEvent, metadata: bytes, record: Record) -> list[Outgoing]:
        key = event.document_id.encode()
        value = await self._encoded(event, metadata)
        headers = event_headers(event, record, content_type=self._settings.event_encoding.content_type)
        messages = [Outgoing(self._settings.entities_topic, key, value, headers, record)]
        if topic := self._settings.entity_rows_topic:
            messages += [
                Outgoing(topic, key, encode_event(row, metadata), row_headers(row, record), record)
                for row in rows_of(event)
            ]
        return messages

    async def _decoded(self, record: Record) -> Decoded:
        if not has_decodable_names(record.headers):
            raise BadDocument(
                Reason.NOT_UTF8, "the name of a header is not UTF-8; Kafka wants names of headers in UTF-8"
            )
        return decode(record if self._values is None else await self._values.document(record), self._settings)

    async def _encoded(self, event: EntityEvent, metadata: bytes) -> bytes:
        if self._values is None:
            return encode_event(event, metadata)
        return await self._values.event(event, metadata)

    async def _publish(self, record: Record, made: _Made) -> EntityEvent | DeadLetter:
        """Publish an event, or a dead letter where its topic does not take it; returns which."""
        began, event = time.monotonic(), made.event
        try:
            with tracing.step_span("publish"):
                await self._publisher.publish(*made.messages)
        except MessageTooLarge as error:
            tracing.fail(Reason.EVENT_TOO_LARGE)
            return await self._dead_letters.publish(
                record,
                Reason.EVENT_TOO_LARGE,
                f"the entity event of this document cannot be published: {error}",
            )
        self._metrics.stage("publish", time.monotonic() - began)
        self._metrics.event(event)
        self._repeats.note(event)
        if self._shadow is not None:
            self._shadow.offer(event, made.decoded)
        _log.debug("event published", event_id=event.event_id, entities=len(event.entities))
        return event

    def _event_id(self, record: Record, decoded: Decoded, unit: OffsetUnit, made_by: ModelInfo) -> str:
        """Identify the question: position and content of the record, and all that decides the answer.

        A repeat has the same id, so that readers of events can drop it. A topic that is deleted and made
        again has other documents at the same positions, and they have other ids.
        """
        document = decoded.document
        value = hashlib.sha256(record.value or b"").hexdigest()
        asked = _CANONICAL.encode([record.position, document.id, value])
        wishes = document.labels, document.policy, document.threshold
        question = self._usual_question if wishes == (None, None, None) else self._question(*wishes)
        if made_by is not self._model.info:  # the server states its model
            question = _joined(question, _CANONICAL.encode([made_by.model_dump()]))
        if decoded.fields or unit is not OffsetUnit.CODE_POINTS:
            question = _joined(question, _CANONICAL.encode([list(decoded.fields), unit]))
        return str(uuid.uuid5(_EVENT_IDS, _joined(asked, question)))

    def _question(
        self, labels: list[str] | dict[str, str] | None, policy: Policy | None, threshold: float | None
    ) -> str:
        """All that decides an answer beside the text, as a JSON list; None takes the worker's own."""
        asked = self._model.default_labels if labels is None else labels
        in_process = self._settings.inference is Inference.IN_PROCESS
        calibration = self._model.calibration
        question = [
            self._model.info.model_dump(),
            list(asked.items()) if isinstance(asked, dict) else asked,
            policy or self._model.policy,
            self._settings.threshold if threshold is None else threshold,
            calibration and calibration.model_dump(),
            (self._settings.constrained, self._settings.int8) if in_process else None,
        ]
        return _CANONICAL.encode(question)


def _joined(first: str, second: str) -> str:
    """JSON of two lists as one."""
    return f"{first[:-1]}, {second[1:]}"


def _messaging_attributes(record: Record, group: str) -> dict[str, str | int]:
    """Attributes of a record's span, by OpenTelemetry's conventions for messaging (1.44, in development)."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": group,
    }

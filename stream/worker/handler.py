"""One record to its outcome, acknowledged by Kafka: an entity event or a dead letter, and never both."""

import hashlib
import json
import time
import uuid

import structlog

from stream.contract.headers import event_headers, has_decodable_names
from stream.contract.messages import Document, EntityEvent, Source
from stream.contract.reasons import Reason, Stage
from stream.contract.record import Record
from stream.errors import (
    BadDocument,
    InferenceBreach,
    InferenceCrash,
    InferenceError,
    InferenceTimeout,
)
from stream.generation import origin
from stream.settings import Inference, Settings
from stream.worker.codec import decode_document, encode_event
from stream.worker.dead_letters import DeadLetters
from stream.worker.extraction import RetryingExtractor
from stream.worker.health_state import DependencyStatus
from stream.worker.logs import about
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import ServedModel
from stream.worker.publisher import MessageTooLarge, Outgoing, Outlet

_log = structlog.get_logger(__name__)
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


class Handler:
    """Takes records to their outcomes; any number at once."""

    def __init__(
        self,
        settings: Settings,
        model: ServedModel,
        publisher: Outlet,
        metrics: WorkerMetrics,
        status: DependencyStatus,
    ) -> None:
        self._settings = settings
        self._model = model
        self._publisher = publisher
        self._metrics = metrics
        self._dead_letters = DeadLetters(settings, publisher, metrics)
        self._extractor = RetryingExtractor(
            model, deadline=settings.document_deadline, metrics=metrics, status=status
        )

    async def handle(self, record: Record, fetched: float) -> None:
        """Return when Kafka has acknowledged the record's outcome.

        Args:
            record: The record.
            fetched: ``time.monotonic()`` when the worker got it.

        Raises:
            DeliveryError: The dead-letter topic takes the record in no form, or the publisher is closed.
        """
        with about(record):
            try:
                # Nothing is sent before the event is complete: an error up to here cannot follow an event.
                event, message = await self._event(record, time.monotonic() - fetched)
            except _NoEvent as no_event:
                await self._dead_letters.publish(
                    record,
                    no_event.reason,
                    str(no_event),
                    stage=no_event.stage,
                    attempts=no_event.attempts,
                )
            else:
                await self._publish(record, event, message)
            self._metrics.stage("total", time.monotonic() - fetched)

    async def _event(self, record: Record, queued: float) -> tuple[EntityEvent, Outgoing]:
        """Make the event of a record, and the message that carries it.

        Raises:
            _NoEvent: The record becomes a dead letter.
        """
        stage = Stage.DECODE
        try:
            document = self._document(record)
            stage = Stage.INFERENCE
            # Each document has a task, and so a context, of its own.
            origin.set(record.position)
            structlog.contextvars.bind_contextvars(document=document.id)
            extraction = await self._extractor.extract(document)
            stage = Stage.PUBLISH
            event = EntityEvent(
                event_id=self._event_id(record, document),
                document_id=document.id,
                source=Source(topic=record.topic, partition=record.partition, offset=record.offset),
                model=self._model.info,
                labels=extraction.labels,
                entities=extraction.entities,
                removed=extraction.removed,
                coverage=extraction.coverage,
                timings={
                    stage: round(milliseconds, 3)
                    for stage, milliseconds in {"queue": queued * 1000, **extraction.timings}.items()
                },
                metadata=document.metadata,
            )
            return event, Outgoing(
                topic=self._settings.entities_topic,
                key=event.document_id.encode(),
                value=encode_event(event, record),
                headers=event_headers(event, record),
                record=record,
            )
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

    def _document(self, record: Record) -> Document:
        if not has_decodable_names(record.headers):
            raise BadDocument(
                Reason.NOT_UTF8, "the name of a header is not UTF-8; Kafka wants names of headers in UTF-8"
            )
        return decode_document(record, self._settings)

    async def _publish(self, record: Record, event: EntityEvent, message: Outgoing) -> None:
        began = time.monotonic()
        try:
            await self._publisher.publish(message)
        except MessageTooLarge as error:
            await self._dead_letters.publish(
                record,
                Reason.EVENT_TOO_LARGE,
                f"the entity event of this document cannot be published: {error}",
            )
            return
        self._metrics.stage("publish", time.monotonic() - began)
        self._metrics.event(event)
        _log.debug("event published", event_id=event.event_id, entities=len(event.entities))

    def _event_id(self, record: Record, document: Document) -> str:
        """Identify the question: position and content of the record, and all that decides the answer.

        A repeat has the same id, so that readers of events can drop it. A topic that is deleted and made
        again has other documents at the same positions, and they have other ids.
        """
        labels = self._model.default_labels if document.labels is None else document.labels
        calibration = self._model.calibration
        in_process = self._settings.inference is Inference.IN_PROCESS
        asked = [
            record.position,
            document.id,
            hashlib.sha256(record.value or b"").hexdigest(),
            self._model.info.model_dump(),
            list(labels.items()) if isinstance(labels, dict) else labels,
            document.policy or self._model.policy,
            self._settings.threshold if document.threshold is None else document.threshold,
            calibration and calibration.model_dump(),
            (self._settings.constrained, self._settings.int8) if in_process else None,
        ]
        return str(uuid.uuid5(_EVENT_IDS, json.dumps(asked, sort_keys=True)))

"""One record to its outcome, acknowledged by Kafka: an entity event or a dead letter. Never neither."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog

from stream.backoff import pauses
from stream.contract.headers import dead_letter_headers, event_headers
from stream.contract.messages import DeadLetter, Document, EntityEvent, ModelInfo, Source
from stream.contract.reasons import Reason
from stream.contract.record import Record
from stream.errors import BadDocument, InferenceRejected, InferenceTimeout, InferenceUnavailable
from stream.generation import Generator
from stream.ner.calibration import Calibration
from stream.ner.extractor import Extraction, Extractor
from stream.settings import EventsPer, Settings
from stream.worker.codec import decode_document, encode_event
from stream.worker.health_state import Outage
from stream.worker.logs import about
from stream.worker.metrics import Telemetry
from stream.worker.publisher import MessageTooLarge, Outbox, Outgoing

_log = structlog.get_logger(__name__)
_EVENT_IDS = uuid.UUID("9d5f6c1e-52a7-5b0e-8a55-6f6d3f6f2c11")
_TIMEOUT_TRIES = 3
_REJECTION_TRIES = 2
_DEADLINE_CHARACTERS = 20_000
_MESSAGE_CHARACTERS = 2000
_CUT = 524_288


@dataclass(frozen=True, slots=True)
class Served:
    """The model as the worker serves it."""

    generator: Generator
    extractor: Extractor
    info: ModelInfo
    default_labels: tuple[str, ...]
    calibration: Calibration | None = None


class Handler:
    """Takes records to their outcomes; any number at once."""

    def __init__(
        self, settings: Settings, served: Served, outbox: Outbox, telemetry: Telemetry, model: Outage
    ) -> None:
        self._settings = settings
        self._served = served
        self._outbox = outbox
        self._telemetry = telemetry
        self._model = model

    async def handle(self, record: Record, fetched: float) -> None:
        """Return when Kafka has acknowledged the record's outcome.

        Args:
            record: The record.
            fetched: ``time.monotonic()`` when the worker got it.
        """
        with about(record):
            queued = time.monotonic() - fetched
            try:
                event = await self._publish_event(record, queued)
            except BadDocument as bad:
                await self._dead_letter(record, Reason(bad.reason), str(bad))
            except MessageTooLarge as error:
                await self._dead_letter(
                    record,
                    Reason.EVENT_TOO_LARGE,
                    f"the entity event of this document cannot be published: {error}",
                )
            except InferenceTimeout as error:
                await self._dead_letter(record, Reason.INFERENCE_TIMEOUT, str(error))
            except InferenceRejected as error:
                await self._dead_letter(
                    record, Reason.INFERENCE_REJECTED, f"the model refused the document: {error}"
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, no document is lost for it
                _log.exception("unexpected error")
                await self._dead_letter(
                    record, Reason.INTERNAL_ERROR, f"a fault of this service: {type(error).__name__}: {error}"
                )
            else:
                self._telemetry.event(event)
            self._telemetry.stage("total", time.monotonic() - fetched)

    async def _publish_event(self, record: Record, queued: float) -> EntityEvent:
        document = decode_document(record, self._settings)
        structlog.contextvars.bind_contextvars(
            document=document.id
        )  # a task of its own, a context of its own
        extraction = await self._extract(document)
        event = self._event(record, document, extraction, queued)
        await self._publish(record, event)
        _log.debug("event published", event_id=event.event_id, entities=len(event.entities))
        return event

    async def _extract(self, document: Document) -> Extraction:
        """Extract within the deadline; time in which the model was away does not count.

        Raises:
            InferenceTimeout: The deadline passed, or calls timed out again and again.
            InferenceRejected: The model refuses the document.
        """
        budget = self._settings.document_deadline * (1 + len(document.text) / _DEADLINE_CHARACTERS)
        timeouts = rejections = 0
        for pause in pauses(first=0.2, longest=5.0):
            began = time.monotonic()
            try:
                extraction = await self._attempt(document, budget)
            except InferenceUnavailable as error:
                self._model.began(error)
            except InferenceRejected:
                # A server that is going down answers strangely; what a sound one refuses twice is refused.
                rejections += 1
                if rejections >= _REJECTION_TRIES:
                    raise
            except InferenceTimeout as error:
                timeouts += 1
                budget -= time.monotonic() - began
                if timeouts >= _TIMEOUT_TRIES or budget <= 0:
                    raise InferenceTimeout(
                        f"the model gave no answer in {timeouts} tries: {error}; send the document again"
                    ) from error
            else:
                self._model.ended()
                return extraction
            self._telemetry.retry("model")
            await asyncio.sleep(pause)
        raise AssertionError("pauses have no end")

    async def _attempt(self, document: Document, seconds: float) -> Extraction:
        try:
            async with asyncio.timeout(seconds):
                return await self._served.extractor.extract(document)
        except InferenceRejected as error:
            if not await self._served.generator.ready():
                raise InferenceUnavailable(f"{error}; and the model is not ready") from error
            raise
        except TimeoutError as error:
            # A call that hangs on a dead server looks like a slow model; only one that is there can be slow.
            if not await self._served.generator.ready():
                raise InferenceUnavailable(
                    f"no answer for {seconds:.0f} s, and the model is not ready"
                ) from error
            raise InferenceTimeout(f"the deadline of {seconds:.0f} s passed") from error

    def _event(
        self, record: Record, document: Document, extraction: Extraction, queued: float
    ) -> EntityEvent:
        timings = {"queue": queued * 1000, **extraction.timings}
        return EntityEvent(
            event_id=self._event_id(record, document),
            document_id=document.id,
            source=Source(topic=record.topic, partition=record.partition, offset=record.offset),
            model=self._served.info,
            labels=extraction.labels,
            entities=extraction.entities,
            removed=extraction.removed,
            coverage=extraction.coverage,
            timings={stage: round(milliseconds, 3) for stage, milliseconds in timings.items()},
            metadata=document.metadata,
        )

    def _event_id(self, record: Record, document: Document) -> str:
        """The same for every try at the same question; so who reads the events can drop repeats."""
        labels = self._served.default_labels if document.labels is None else document.labels
        pairs = list(labels.items()) if isinstance(labels, dict) else labels
        threshold = self._settings.threshold if document.threshold is None else document.threshold
        asked = [
            record.position,
            self._served.info.model_dump(),
            pairs,
            document.policy or self._settings.policy,
            threshold,
        ]
        # Events of models without one keep the ids that they have had.
        if calibration := self._served.calibration:
            asked.append(calibration.model_dump())
        return str(uuid.uuid5(_EVENT_IDS, json.dumps(asked, sort_keys=True)))

    async def _publish(self, record: Record, event: EntityEvent) -> None:
        began = time.monotonic()
        events = [event] if self._settings.events_per is EventsPer.DOCUMENT else _one_each(event)
        await asyncio.gather(*(self._publish_one(record, one) for one in events))
        self._telemetry.stage("publish", time.monotonic() - began)

    async def _publish_one(self, record: Record, event: EntityEvent) -> None:
        await self._outbox.publish(
            Outgoing(
                topic=self._settings.entities_topic,
                key=event.document_id.encode(),
                value=encode_event(event),
                headers=event_headers(event, record),
            )
        )

    async def _dead_letter(self, record: Record, reason: Reason, message: str) -> None:
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            group=self._settings.group,
            message=message[:_MESSAGE_CHARACTERS].encode(errors="replace").decode(),
            stage=reason.stage,
            reason=reason.value,
        )
        _log.warning("dead letter", stage=letter.stage.value, reason=letter.reason, why=letter.message)
        for outgoing in self._ever_smaller(letter, record):
            try:
                await self._outbox.publish(outgoing)
            except MessageTooLarge as error:
                _log.warning("dead letter cut", bytes=len(record.value or b""), why=str(error))
            else:
                break
        self._telemetry.dead_letter(letter)

    def _ever_smaller(self, letter: DeadLetter, record: Record) -> Iterator[Outgoing]:
        """The dead letter whole; then, for topics that do not take it, with less and less of the original."""
        bare = replace(record, key=None, headers=())
        fitting = max(0, self._outbox.largest - self._as_message(letter, record, keep=0).bytes)
        yield self._as_message(letter, record)
        for keep in (fitting, _CUT, 0):
            yield self._as_message(letter, record, keep=keep)
        yield self._as_message(letter, bare, keep=0)

    def _as_message(self, letter: DeadLetter, record: Record, *, keep: int | None = None) -> Outgoing:
        whole = record.value
        value = whole if whole is None else whole[:keep]
        if value is None and record.key is None:
            value = b""  # a record needs a key or a value; the reason still says that it was a tombstone
        return Outgoing(
            topic=self._settings.dead_letters_topic,
            key=record.key,
            value=value,
            headers=dead_letter_headers(letter, record, truncated=len(value or b"") < len(whole or b"")),
        )


def _one_each(event: EntityEvent) -> list[EntityEvent]:
    """An event for each entity, so that each is a record of its own.

    The first keeps the document's id and what was removed; a document without entities stays one event,
    since it has to be heard of too.
    """
    first, *others = [[entity] for entity in event.entities] or [[]]
    return [
        event.model_copy(update={"entities": first}),
        *(
            event.model_copy(
                update={"event_id": f"{event.event_id}/{number}", "entities": one, "removed": []}
            )
            for number, one in enumerate(others, start=1)
        ),
    ]

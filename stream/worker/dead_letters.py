"""Dead letters: the original record beside a reason, cut to what the topic takes."""

from collections.abc import Iterator
from dataclasses import replace

import structlog

from stream.contract.headers import dead_letter_headers
from stream.contract.messages import DeadLetter
from stream.contract.reasons import Reason, Stage
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker.metrics import WorkerMetrics
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing, Outlet

_log = structlog.get_logger(__name__)
_MESSAGE_CHARACTERS = 2000
_CUT = 524_288


class DeadLetters:
    """Publishes dead letters."""

    def __init__(self, settings: Settings, publisher: Outlet, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._publisher = publisher
        self._metrics = metrics

    async def publish(
        self, record: Record, reason: Reason, message: str, *, stage: Stage | None = None, attempts: int = 1
    ) -> DeadLetter:
        """Return the dead letter of a record when Kafka has acknowledged it.

        Args:
            record: The record.
            reason: Reason why no event can be made of it.
            message: The same for a person.
            stage: Stage at which it was stopped; None for the usual one of the reason.
            attempts: Tries of that stage.

        Raises:
            DeliveryError: The topic takes it in no form.
        """
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            group=self._settings.group,
            message=message[:_MESSAGE_CHARACTERS].encode(errors="replace").decode(),
            stage=stage or reason.stage,
            reason=reason.value,
            attempts=attempts,
        )
        _log.warning("dead letter", stage=letter.stage.value, reason=letter.reason, why=letter.message)
        try:
            await self._publish_fitting(letter, record)
        except KeyRequired as error:
            _log.warning("dead letter given a key", why=str(error))
            await self._publish_fitting(letter, replace(record, key=record.position.encode()))
        self._metrics.dead_letter(letter)
        return letter

    async def _publish_fitting(self, letter: DeadLetter, record: Record) -> None:
        refusal: MessageTooLarge | None = None
        for outgoing in self._ever_smaller(letter, record):
            try:
                await self._publisher.publish(outgoing)
            except MessageTooLarge as error:
                _log.warning("dead letter truncated", bytes=len(record.value or b""), why=str(error))
                refusal = error
            else:
                return
        raise DeliveryError(
            f"topic {self._settings.dead_letters_topic} takes this dead letter in no form: {refusal}; "
            "raise its max.message.bytes"
        )

    def _ever_smaller(self, letter: DeadLetter, record: Record) -> Iterator[Outgoing]:
        """Yield the dead letter whole; then, for topics that refuse it, with less and less of the record."""
        bare = replace(record, key=record.position.encode(), headers=())
        fitting = max(0, self._publisher.largest - self._as_message(letter, record, keep=0).bytes)
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
            headers=dead_letter_headers(
                letter,
                record,
                truncated=len(value or b"") < len(whole or b""),
                spring=self._settings.spring_headers,
            ),
            record=record,
        )

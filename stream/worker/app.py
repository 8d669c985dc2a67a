"""The worker: documents from Kafka, through the model, to entity events, until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import faust
import structlog

from stream.aio import loop_factory
from stream.backoff import pauses
from stream.bundled import model_folder
from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.kafka.topics import missing_topics
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from stream.worker import consumer
from stream.worker.endpoints import HealthPages, health_server
from stream.worker.handler import Handler, Served
from stream.worker.health_state import Outage, Vitals
from stream.worker.intake import Intake, Window
from stream.worker.logs import configure_logs
from stream.worker.metrics import Telemetry
from stream.worker.model import MakeGenerator, make_generator, serve_with
from stream.worker.offset_tracker import Ledger
from stream.worker.publisher import Outbox

_log = structlog.get_logger(__name__)
_CHECK_INTERVAL = 1.0
_READY_TIMEOUT = 5.0
_STOP_MARGIN = 15.0
_MESSAGES_IN_FLIGHT = 4  # largest messages that may be held at once


def run(settings: Settings, *, make: MakeGenerator = make_generator) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        settings: Effective settings.
        make: Makes the generator; called once.

    Raises:
        stream.errors.PadellmError: The settings or the model cannot be served, or the consumer ended.
    """
    configure_logs(settings.log_level)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_until_signal(settings, make))


async def serve(settings: Settings, stop: asyncio.Event, *, make: MakeGenerator = make_generator) -> None:
    """Serve until ``stop`` is set; documents in flight get ``drain_limit`` seconds to end.

    Raises:
        stream.errors.PadellmError: As ``run``.
    """
    telemetry = Telemetry()
    vitals = Vitals(model=Outage("model", telemetry), broker=Outage("broker", telemetry))
    pages = HealthPages(settings, vitals, telemetry)
    async with health_server(pages, settings.health_host, settings.health_port):
        working = asyncio.create_task(_work(settings, make, vitals, telemetry))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        vitals.stage = "stopping"
        stopping.cancel()
        working.cancel()
        try:
            await working
        except asyncio.CancelledError:
            _log.info("stopped")


async def _until_signal(settings: Settings, make: MakeGenerator) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            _log.warning("ended at the second signal", effect="documents in flight are read again")
            os._exit(1)
        _log.info("stopping", drain_limit=settings.drain_limit)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    await serve(settings, stop, make=make)


async def _work(settings: Settings, make: MakeGenerator, vitals: Vitals, telemetry: Telemetry) -> None:
    outbox = Outbox(settings, telemetry, vitals.broker)
    async with _model(settings, make, vitals, telemetry) as served:
        # What was imported and loaded stays; collections need not look at it again and again.
        gc.collect()
        gc.freeze()
        vitals.stage = f"waiting for the broker at {settings.broker}"
        try:
            await outbox.start()
            await _topics_there(settings, vitals)
            vitals.stage = f"waiting for partitions of {settings.documents_topic} in group {settings.group}"
            vitals.progress()
            await _consume(settings, served, outbox, vitals, telemetry)
        finally:
            await outbox.close()


@asynccontextmanager
async def _model(
    settings: Settings, make: MakeGenerator, vitals: Vitals, telemetry: Telemetry
) -> AsyncIterator[Served]:
    vitals.stage = "loading the model"
    folder: Path = model_folder(settings.model)
    template = await asyncio.to_thread(PromptTemplate.load, folder)
    generator = make(settings, folder, telemetry)

    def on_completion() -> None:
        telemetry.completions.inc()
        vitals.progress()

    try:
        yield serve_with(settings, template, generator, telemetry, on_completion)
    finally:
        await generator.close()


async def _topics_there(settings: Settings, vitals: Vitals) -> None:
    """Wait until the topics are there: a stack may start its parts in any order."""
    for pause in pauses(first=0.5, longest=5.0):
        try:
            missing = await missing_topics(settings)
        except DeliveryError as error:
            vitals.broker.began(error)
        else:
            vitals.broker.ended()
            if not missing:
                return
            vitals.stage = f"waiting for missing topics: {', '.join(missing)}"
            _log.warning("topics missing", topics=missing, mend="create them; padellm up does it by itself")
        vitals.progress()
        await asyncio.sleep(pause)


async def _consume(
    settings: Settings, served: Served, outbox: Outbox, vitals: Vitals, telemetry: Telemetry
) -> None:
    ledger = Ledger()
    handler = Handler(settings, served, outbox, telemetry, vitals.model)
    window = Window(settings.window, _MESSAGES_IN_FLIGHT * settings.max_message_bytes, telemetry)
    intake = Intake(handler.handle, ledger, window, vitals)
    app = _faust_app(settings, intake)
    consumer.use_in(app, settings=settings, ledger=ledger, intake=intake, vitals=vitals, telemetry=telemetry)
    starting = asyncio.create_task(app.start())
    try:
        while not app.crashed:
            if starting.done():
                starting.result()
            await _look_around(served, outbox, vitals)
            _measure(app, intake, vitals, telemetry)
            await asyncio.sleep(_CHECK_INTERVAL)
        raise DeliveryError(f"the consumer ended: {app.crash_reason!r}; restart the worker")
    finally:
        vitals.joined = False
        await _stopped(app, starting, settings)


def _faust_app(settings: Settings, intake: Intake) -> Any:
    """One agent over raw records; nothing of Faust's tables, leader, web pages or topic creation."""
    app = _App(
        id=settings.group,
        broker=[f"kafka://{address.strip()}" for address in settings.broker.split(",")],
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=consumer.COMMIT_INTERVAL,
        broker_session_timeout=consumer.SESSION_TIMEOUT,
        broker_heartbeat_interval=consumer.HEARTBEAT_INTERVAL,
        broker_request_timeout=consumer.REQUEST_TIMEOUT,
        # The group waits that long for a worker that drains.
        broker_rebalance_timeout=max(60.0, 2 * settings.drain_limit + _STOP_MARGIN),
        broker_max_poll_records=max(16, settings.window),
        producer_request_timeout=consumer.REQUEST_TIMEOUT,
        stream_buffer_maxsize=max(4, settings.window // 4),
        stream_wait_empty=True,
    )
    topic = app.topic(
        settings.documents_topic,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    def is_current(message: Any) -> bool:
        return bool(app.flow_control.is_active() and message.generation_id == app.consumer_generation_id)

    async def documents(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            await intake.admit(
                message.tp,
                message.generation_id,
                _record(message),
                current=partial(is_current, message),
            )

    app.agent(topic, name="documents", concurrency=1)(documents)
    return app


class _App(faust.App):  # type: ignore[misc]  # Faust is untyped here
    """A Faust app that writes nothing to disk."""

    logger = logging.getLogger("faust.app")

    async def on_first_start(self) -> None:
        """No data folder: there are no tables."""


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp or 0.0,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )


async def _look_around(served: Served, outbox: Outbox, vitals: Vitals) -> None:
    """Refresh what the pages know of the other parts: whether model and broker answer."""
    if await _is_ready(served):
        vitals.model.ended()
    else:
        vitals.model.began("it is not ready")
    if await outbox.reaches_broker():
        vitals.broker.ended()
    else:
        vitals.broker.began("it does not answer")


def _measure(app: Any, intake: Intake, vitals: Vitals, telemetry: Telemetry) -> None:
    """Refresh how far behind the worker is, and whether it has anything to do."""
    lags = app.consumer.behind() if vitals.joined else {}
    for tp, records in lags.items():
        telemetry.lag(tp.topic, tp.partition, records)
    vitals.waiting = max(intake.in_flight, sum(lags.values()))
    if vitals.joined and (not vitals.waiting or vitals.model.cause or vitals.broker.cause):
        vitals.progress()


async def _is_ready(served: Served) -> bool:
    try:
        async with asyncio.timeout(_READY_TIMEOUT):
            return await served.generator.ready()
    except TimeoutError:
        return False


async def _stopped(app: Any, starting: asyncio.Task[Any], settings: Settings) -> None:
    """Stop Faust; it drains through ``OrderedConsumer.wait_empty``."""
    starting.cancel()
    try:
        async with asyncio.timeout(settings.drain_limit * 2 + _STOP_MARGIN):
            await app.stop()
    except TimeoutError:
        _log.error("the consumer did not stop in time", effect="its documents in flight are read again")

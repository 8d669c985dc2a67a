"""The worker: documents from Kafka, through the model, to entity events, until a signal ends it."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import faust
import structlog

from stream import tracing
from stream.aio import loop_factory
from stream.backoff import pauses
from stream.bundled import model_folder
from stream.contract.record import Record
from stream.errors import DeliveryError, InferenceStopped
from stream.kafka.topics import missing_topics
from stream.ner.template import PromptTemplate
from stream.registry.values import registry_values
from stream.settings import Delivery, Settings
from stream.settings.variables import unknown_variables
from stream.worker import consumer
from stream.worker.committer import TransactionalPublisher
from stream.worker.endpoints import HealthEndpoints, health_server, program_version
from stream.worker.handler import Handler
from stream.worker.health_state import DependencyStatus, HealthState
from stream.worker.intake import InFlightLimit, Intake, sign_of_life
from stream.worker.logs import configure_logs
from stream.worker.metrics import WorkerMetrics
from stream.worker.model import MakeGenerator, ServedModel, make_generator, serve_with
from stream.worker.offset_tracker import OffsetTracker
from stream.worker.outcome import nobody
from stream.worker.page.server import Page, page_server
from stream.worker.page.text_trial import TextTrial
from stream.worker.progress import Bounds, ProgressWatch, Wait
from stream.worker.publisher import Publisher
from stream.worker.registered import PART, RegisteredValues
from stream.worker.shadow import Shadow, shadow_of

_log = structlog.get_logger(__name__)
_CHECK_INTERVAL = 1.0
_READY_TIMEOUT = 5.0
_STOP_MARGIN = 15.0
# Of documents, beyond their deadline, which a probe may take once more.
_LATE_MARGIN = 30.0
_STUCK_MARGIN = 60.0
_LOADING = "loading the model"
_PROBE = "probe"
_NO_TIMESTAMP = -0.001  # -1 ms, of producers that set none


def run(settings: Settings, *, make: MakeGenerator = make_generator) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        settings: Effective settings.
        make: Makes the generator; called once.

    Raises:
        stream.errors.PadellmError: The settings or the model cannot be served, or the model or the consumer
            broke down for good.
    """
    configure_logs(settings.log_level)
    for variable, advice in unknown_variables().items():
        _log.warning("unknown setting ignored", variable=variable, advice=advice)
    if settings.otlp_endpoint is not None:
        tracing.start(settings.otlp_endpoint, program_version())
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_until_signal(WorkerService(settings, make)))
    finally:
        tracing.stop()


async def _until_signal(worker: "WorkerService") -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            _log.warning("forced exit", effect="documents in flight are read again")
            os._exit(1)
        if worker.health.stage == _LOADING:  # nothing is in flight, and the loading cannot be interrupted
            _log.info("stopped")
            os._exit(0)
        _log.info("stopping", drain_limit=worker.settings.drain_limit)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    await worker.serve(stop)


class WorkerService:
    """A worker and its state.

    Args:
        settings: Effective settings.
        make: Makes the generator; called once.
    """

    def __init__(self, settings: Settings, make: MakeGenerator = make_generator) -> None:
        self.settings = settings
        self.metrics = WorkerMetrics()
        self.health = HealthState(
            model=DependencyStatus("model", self.metrics), broker=DependencyStatus("broker", self.metrics)
        )
        self._make = make
        self._progress = ProgressWatch(self.metrics)
        self._publisher = Publisher(settings, self.metrics, self.health.broker)
        self._page = Page(settings, self.health, self.metrics) if settings.page else None

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set; documents in flight get ``drain_limit`` seconds to end.

        Raises:
            stream.errors.PadellmError: As ``run``.
        """
        endpoints = HealthEndpoints(self.health, self.metrics)
        async with AsyncExitStack() as servers:
            await servers.enter_async_context(
                health_server(endpoints, self.settings.health_host, self.settings.health_port)
            )
            if self._page is not None:
                await servers.enter_async_context(
                    page_server(self._page, self.settings.page_host, self.settings.page_port)
                )
            working = asyncio.create_task(self._work())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.health.stage = "stopping"
            stopping.cancel()
            working.cancel()
            try:
                await working
            except asyncio.CancelledError:
                _log.info("stopped")

    async def _work(self) -> None:
        async with self._model() as model:
            # Imported modules and the model stay; collections need not look at them again and again.
            gc.collect()
            gc.freeze()
            self.health.stage = f"waiting for the broker at {self.settings.broker}"
            try:
                await self._publisher.start()
                await self._wait_for_topics()
                async with self._registry() as values, shadow_of(self.settings, self.metrics) as shadow:
                    topic, group = self.settings.documents_topic, self.settings.group
                    self.health.stage = f"waiting for partitions of {topic} in group {group}"
                    self.health.progress()
                    await self._consume(model, values, shadow)
            finally:
                await self._publisher.close()

    @asynccontextmanager
    async def _registry(self) -> AsyncIterator[RegisteredValues | None]:
        """Values of the schema registry, once it answers; None where the settings name none."""
        values = registry_values(self.settings)
        if values is None:
            yield None
            return
        self.health.registry = DependencyStatus(PART, self.metrics)
        self.health.stage = f"waiting for the schema registry at {values.registry.url}"
        registered = RegisteredValues(values, self.metrics, self.health.registry)
        try:
            await registered.prepare()
            yield registered
        finally:
            await values.close()

    @asynccontextmanager
    async def _model(self) -> AsyncIterator[ServedModel]:
        self.health.stage = _LOADING
        folder = model_folder(self.settings.model)
        template = await asyncio.to_thread(PromptTemplate.load, folder)
        generator = await self._make(self.settings, folder, self.metrics)

        def on_completion() -> None:
            self.metrics.completions.inc()
            self.health.progress()
            sign_of_life()

        if self._page is not None:
            self._page.trial = TextTrial(self.settings, template, generator)
        try:
            yield serve_with(self.settings, template, generator, self.metrics, on_completion)
        finally:
            await generator.close()

    async def _wait_for_topics(self) -> None:
        """Wait until the topics exist: the processes of a stack may start in any order."""
        for pause in pauses(first=0.5, longest=5.0):
            try:
                missing = await missing_topics(self.settings)
            except DeliveryError as error:
                self.health.broker.failed(_PROBE, error)
            else:
                self.health.broker.worked(_PROBE)
                if not missing:
                    return
                self.health.stage = f"waiting for missing topics: {', '.join(missing)}"
                _log.warning(
                    "topics missing",
                    topics=missing,
                    fix="create them with padellm topics, or give this user Describe on them",
                )
            self.health.progress()
            await asyncio.sleep(pause)

    async def _consume(
        self, model: ServedModel, values: RegisteredValues | None, shadow: Shadow | None
    ) -> None:
        settings = self.settings
        tracker = OffsetTracker()
        transactions = None
        if settings.delivery is Delivery.EXACTLY_ONCE:
            transactions = TransactionalPublisher(settings, tracker, self.metrics, self.health.broker)
        outlet = transactions or self._publisher
        watch = self._page.feed.watch if self._page is not None else nobody
        handler = Handler(
            settings,
            model,
            outlet,
            self.metrics,
            self.health.model,
            values=values,
            watch=watch,
            shadow=shadow,
        )
        limit = InFlightLimit(settings.max_in_flight, settings.max_in_flight_bytes, self.metrics)
        intake = Intake(handler.handle, tracker, limit, self.health)
        app = _faust_app(settings, intake)
        consumer.use_in(
            app,
            settings=settings,
            tracker=tracker,
            intake=intake,
            health=self.health,
            metrics=self.metrics,
            transactions=transactions,
        )
        starting = asyncio.create_task(app.start())
        try:
            while not app.crashed:
                if starting.done():
                    starting.result()
                await self._probe(model)
                self._measure(app, intake)
                self._watch(app, tracker, limit)
                await asyncio.sleep(_CHECK_INTERVAL)
            raise self._broken(f"the consumer ended: {app.crash_reason!r}; restart the worker")
        finally:
            self.health.joined = False
            await _stopped(app, starting, settings)

    async def _probe(self, model: ServedModel) -> None:
        """Refresh whether model and broker answer.

        Raises:
            InferenceStopped: The model is gone for good.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                ready = await model.generator.ready()
        except TimeoutError:
            ready = False
        except InferenceStopped as error:
            self.health.fatal = str(error)
            raise
        if ready:
            self.health.model.worked(_PROBE)
        else:
            self.health.model.failed(_PROBE, getattr(model.generator, "trouble", None) or "it is not ready")
        if await self._publisher.reaches_broker():
            self.health.broker.worked(_PROBE)
        else:
            self.health.broker.failed(_PROBE, self._publisher.trouble or "it does not answer")

    def _watch(self, app: Any, tracker: OffsetTracker, limit: InFlightLimit) -> None:
        """Refresh whether each partition and document moves."""
        waits: list[Wait] = []
        if self.health.joined:
            waits = [*self._documents_in_flight(tracker), *app.consumer.waits(room=limit.has_room)]
        self._progress.look(waits, excused=bool(self.health.outages()))
        self.health.late, self.health.stuck = self._progress.late, self._progress.stuck
        self.health.checked()

    def _documents_in_flight(self, tracker: OffsetTracker) -> Iterator[Wait]:
        """Documents in flight, each a wait for its next answer.

        In transactions a document also waits for those before it in its partition, so only the first counts.
        """
        deadline = self.settings.document_deadline
        bounds = Bounds(late=deadline + _LATE_MARGIN, stuck=3 * deadline + _STUCK_MARGIN)
        partitions = set()
        for tp, entry in tracker.unfinished():
            if self.settings.delivery is Delivery.EXACTLY_ONCE and tp in partitions:
                continue
            partitions.add(tp)
            topic, partition = tp
            yield Wait(
                topic,
                partition,
                entry.offset,
                "the document has had no answer of the model, and no outcome",
                bounds,
                since=entry.alive_at,
            )

    def _measure(self, app: Any, intake: Intake) -> None:
        """Refresh how far behind the worker is, and whether it has anything to do.

        Raises:
            DeliveryError: No record would ever come, or another worker has this one's instance id.
        """
        health = self.health
        if app.consumer.fenced():
            raise self._broken(
                f"fenced: another worker of group {self.settings.group} was started with "
                f"PADELLM_INSTANCE_ID={self.settings.instance_id}; give each worker an id of its own"
            )
        if health.joined and (cause := app.consumer.dead_task()):
            raise self._broken(f"the consumer broke down: {cause}; restart the worker")
        lags = app.consumer.behind() if health.joined else {}
        for tp, records in lags.items():
            self.metrics.lag(tp.topic, tp.partition, records)
        exists = not health.joined or app.consumer.topic_exists()
        if not exists and health.missing_topic is None:
            _log.warning(
                "topic missing", topic=self.settings.documents_topic, fix="create it with padellm topics"
            )
        health.missing_topic = None if exists else self.settings.documents_topic
        health.waiting = max(intake.in_flight, sum(lags.values()))
        if health.joined and (not health.waiting or health.outages()):
            health.progress()

    def _broken(self, cause: str) -> DeliveryError:
        self.health.fatal = cause
        return DeliveryError(cause)


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
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=consumer.HEARTBEAT_INTERVAL,
        # Of Faust's recovery alone, which would end for good; each request has a bound of its own.
        broker_request_timeout=consumer.NEVER,
        # The group waits that long for a worker that drains.
        broker_rebalance_timeout=max(60.0, 2 * settings.drain_limit + _STOP_MARGIN),
        broker_max_poll_records=max(16, settings.max_in_flight),
        producer_request_timeout=consumer.REQUEST_TIMEOUT,
        stream_buffer_maxsize=max(4, settings.max_in_flight // 4),
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


class _ConsumerOnly(faust.App.BootStrategy):  # type: ignore[misc]
    """The services of a Faust app without its producer: the publisher has one of its own."""

    enable_kafka_producer = False


class _App(faust.App):  # type: ignore[misc]  # Faust is untyped here
    """A Faust app that writes nothing to disk."""

    logger = logging.getLogger("faust.app")
    BootStrategy = _ConsumerOnly

    def on_init_dependencies(self) -> Any:
        """Put an empty sensor in place of Faust's monitor: nobody reads its times of each record."""
        dependencies = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        self.sensors.add(faust.Sensor())
        return dependencies

    async def on_first_start(self) -> None:
        """Make no data folder: there are no tables."""


def _record(message: Any) -> Record:
    has_time = message.timestamp is not None and message.timestamp != _NO_TIMESTAMP
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp if has_time else None,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )


async def _stopped(app: Any, starting: asyncio.Task[Any], settings: Settings) -> None:
    """Stop Faust; it drains through ``OrderedConsumer.wait_empty``."""
    starting.cancel()
    try:
        async with asyncio.timeout(settings.drain_limit * 2 + _STOP_MARGIN):
            await app.stop()
    except TimeoutError:
        _log.error("the consumer did not stop in time", effect="its documents in flight are read again")

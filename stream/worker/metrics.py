"""Prometheus metrics of the worker, in a registry of their own."""

from collections.abc import Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from stream.contract.messages import DeadLetter, EntityEvent, ModelInfo
from stream.ner.config import NerConfig

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_OTHER = "other"


class WorkerMetrics:
    """Counts what happens to documents.

    Entities are counted by the labels the model knows; labels that messages bring along are ``other``, since
    a metric with names from outside would grow without limit.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels: dict[str, str] = {}
        self._documents = Counter(
            "padellm_documents", "Documents finished, by outcome.", ["outcome"], registry=self.registry
        )
        self._entities = Counter("padellm_entities", "Entities published.", ["label"], registry=self.registry)
        self._dead_letters = Counter(
            "padellm_dead_letters", "Dead letters published.", ["stage", "reason"], registry=self.registry
        )
        self._stages = Histogram(
            "padellm_stage_seconds",
            "Time a document took: queue, count, mention, publish, and total since it was fetched.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._repeats = Counter(
            "padellm_repeats",
            "Events that this worker published again, with the same entities or with other ones.",
            ["entities"],
            registry=self.registry,
        )
        self._retries = Counter(
            "padellm_retries",
            "Tries repeated: model, publish, commit or transaction.",
            ["of"],
            registry=self.registry,
        )
        self.refused_alike = Gauge(
            "padellm_refused_alike",
            "Documents in a row that the model refused with the same words; from 3 on they are held.",
            registry=self.registry,
        )
        self.completions = Counter(
            "padellm_completions", "Prompts the model completed.", registry=self.registry
        )
        self.in_flight = Gauge("padellm_in_flight", "Documents in flight.", registry=self.registry)
        self.in_flight_bytes = Gauge(
            "padellm_in_flight_bytes", "Bytes of the documents in flight.", registry=self.registry
        )
        self._lag = Gauge(
            "padellm_lag", "Records after the finished ones.", ["topic", "partition"], registry=self.registry
        )
        self._stalled = Gauge(
            "padellm_stalled_seconds",
            "Seconds for which the partition's longest wait has not moved: a document without an answer, "
            "records that are not read, outcomes whose offset is not committed.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._up = Gauge(
            "padellm_part_up", "1 while the part answers: model or broker.", ["part"], registry=self.registry
        )
        self._breaker = Gauge(
            "padellm_breaker_state",
            "Circuit breaker to the model: 1 at its state.",
            ["state"],
            registry=self.registry,
        )
        self._shadow = Counter(
            "padellm_shadow",
            "Documents of the second model's share: same or different entities, dropped for want of a place, "
            "failed.",
            ["outcome"],
            registry=self.registry,
        )
        self._servers = Gauge(
            "padellm_server_up",
            "Of several model servers: 1 while it is in service, 0 while it is ejected.",
            ["server"],
            registry=self.registry,
        )
        self._tries = Counter(
            "padellm_server_tries",
            "Of several model servers: tries of prompts, by outcome.",
            ["server", "outcome"],
            registry=self.registry,
        )
        self._rebalances = Counter("padellm_rebalances", "Rebalances of the group.", registry=self.registry)
        # Looking up the child of some labels costs more than counting; every set of these labels is small.
        self._documents_of = cache(self._documents.labels)
        self._entities_of = cache(self._entities.labels)
        self._stage_of = cache(self._stages.labels)
        self._deleted = Counter(
            "padellm_records_deleted_unread",
            "Records that the topic's retention deleted before a worker read them.",
            registry=self.registry,
        )
        self._model = Info("padellm_model", "The model that serves.", registry=self.registry)
        for outcome in ("event", "dead_letter", "no_document"):
            self._documents.labels(outcome)

    def model_is(self, info: ModelInfo, config: NerConfig) -> None:
        """Set the model's name and version, and the labels that it knows."""
        self._model.info(info.model_dump())
        names = {name: phrase for phrase, known in config.labels.items() for name in (*known.aliases, phrase)}
        self._labels = {name.casefold(): phrase for name, phrase in names.items()}

    def event(self, event: EntityEvent) -> None:
        """Count a document that became an event."""
        self._documents_of("event").inc()
        for entity in event.entities:
            self._entities_of(self._labels.get(entity.label.casefold(), _OTHER)).inc()
        for stage in ("queue", "count", "mention"):
            self.stage(stage, event.timings.get(stage, 0.0) / 1000)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Count a document that became a dead letter."""
        self._documents.labels("dead_letter").inc()
        self._dead_letters.labels(letter.stage.value, letter.reason).inc()

    def no_document(self) -> None:
        """Count a record that holds no document, such as the deletion of a row."""
        self._documents.labels("no_document").inc()

    def stage(self, name: str, seconds: float) -> None:
        """Observe the seconds that a document spent in a stage."""
        self._stage_of(name).observe(seconds)

    def repeat(self, *, same: bool) -> None:
        """Count an event that was published before, and whether its entities are the same."""
        self._repeats.labels("same" if same else "other").inc()

    def retry(self, of: str) -> None:
        """Count a try that has to be repeated."""
        self._retries.labels(of).inc()

    def deleted_unread(self, records: int) -> None:
        """Count records that were deleted before a worker read them."""
        self._deleted.inc(records)

    def rebalance(self) -> None:
        """Count a rebalance; the lag of partitions that may have gone is forgotten."""
        self._rebalances.inc()
        self._lag.clear()

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Set the records of a partition that have no outcome yet."""
        self._lag.labels(topic, str(partition)).set(records)

    def stalled(self, seconds: Mapping[tuple[str, int], float]) -> None:
        """Set the longest wait of each partition, by topic and number; others have none."""
        self._stalled.clear()
        for (topic, partition), longest in seconds.items():
            self._stalled.labels(topic, str(partition)).set(longest)

    def part_up(self, part: str, *, up: bool) -> None:
        """Set whether a dependency is up."""
        self._up.labels(part).set(up)

    def breaker(self, state: str) -> None:
        """Set the circuit breaker's state."""
        self._breaker.clear()
        self._breaker.labels(state).set(1)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Present values of a metric by the values of its labels, in the order of their names.

        Args:
            name: Of its samples, such as ``padellm_documents_total``.
        """
        return {
            tuple(sample.labels.values()): sample.value
            for metric in self.registry.restricted_registry([name]).collect()
            for sample in metric.samples
            if sample.name == name
        }

    def shadow(self, outcome: str) -> None:
        """Count a document for the second model: same, different, dropped or failed."""
        self._shadow.labels(outcome).inc()

    def server_serves(self, server: str, *, up: bool) -> None:
        """Set whether a model server is in service."""
        self._servers.labels(server).set(up)

    def server_tried(self, server: str, outcome: str) -> None:
        """Count a try at a model server: completed, failed, busy or refused."""
        self._tries.labels(server, outcome).inc()

    def server_gone(self, server: str) -> None:
        """Forget a model server: its address would stay for ever."""
        self._servers.remove(server)
        self._tries.remove_by_labels({"server": server})

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

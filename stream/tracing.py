"""Spans of a document's way through the service, exported with OTLP; without ``start`` nothing is made.

The context travels in context variables, as OpenTelemetry's Python API has it: tasks inherit it. One span,
of kind consumer, continues the producer's ``traceparent`` and is the parent of all others. Its context goes
out in the one ``traceparent`` of an event or a dead letter; that of a round goes to Triton. Spans hold no
text and no words of an error, which may quote one. OpenTelemetry is an extra, and is imported only where
``start`` was called.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from stream.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_TIMEOUT = 5.0
_EXTRA = "PADELLM_OTLP_ENDPOINT needs OpenTelemetry: pip install 'padellm-stream[otel]'"
_NOTHING = nullcontext()
_provider: "TracerProvider | None" = None

Attribute = str | int | float


def start(endpoint: str, version: str) -> None:
    """Export spans from now on. Other options are OpenTelemetry's own variables (``OTEL_*``).

    Spans that the collector does not take are dropped; no document waits for it.

    Args:
        endpoint: Base address of an OTLP receiver over HTTP, such as ``http://127.0.0.1:4318``.
        version: Version of this program.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    global _provider  # noqa: PLW0603 - one exporter a process, as OpenTelemetry has it
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(_EXTRA) from error
    named = {"service.name": "padellm-worker", "service.version": version}
    given = OTELResourceDetector().detect().attributes
    _provider = TracerProvider(resource=Resource.create({**named, **given}))
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=_TIMEOUT)
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def stop() -> None:
    """Export what is left, and make no spans from now on."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        provider.shutdown()


def exports() -> bool:
    """Return whether spans are made."""
    return _provider is not None


@contextmanager
def document_span(
    name: str, parent: Mapping[str, str], attributes: Mapping[str, Attribute]
) -> Iterator[None]:
    """The span of one record.

    Args:
        name: Its name.
        parent: ``traceparent`` and ``tracestate`` that the record came with; empty begins a trace.
        attributes: Of the span.
    """
    if _provider is None:
        yield
        return
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import SpanKind  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    context = TraceContextTextMapPropagator().extract(parent, Context())
    tracer = _provider.get_tracer(__name__)
    with tracer.start_as_current_span(
        name,
        context,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ):
        yield


def step_span(name: str) -> AbstractContextManager[None]:
    """A step of the present document; none where there is none, as for the worker's own probes."""
    return _NOTHING if _provider is None else _step_span(name)


@contextmanager
def _step_span(name: str) -> Iterator[None]:
    if (span := _begun(name)) is None:
        yield
        return
    from opentelemetry.trace import use_span  # noqa: PLC0415

    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        yield


class SharedSpan:
    """A step of the present document that several tasks take together, from the first to the last of them.

    Args:
        name: Name of the span.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._span: Span | None = None
        self._left: int | None = None

    def inside(self) -> AbstractContextManager[None]:
        """Be in the step; the first one begins it."""
        return _NOTHING if _provider is None else self._inside()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._span = self._span or _begun(self._name)
        if self._span is None:
            yield
            return
        from opentelemetry.trace import use_span  # noqa: PLC0415

        try:
            with use_span(self._span, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            self._left = time.time_ns()

    def end(self) -> None:
        """End the step at the time at which the last task left it."""
        if self._span is not None:
            self._span.end(self._left)


def fail(kind: str) -> None:
    """Mark the present document's span as one of a dead letter, with a stable code."""
    if (span := _present()) is not None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR)


def carrier() -> dict[str, str]:
    """``traceparent``, and ``tracestate`` where there is one, of the present span; empty without."""
    if _provider is None or _present() is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def _begun(name: str) -> "Span | None":
    if _provider is None or _present() is None:
        return None
    return _provider.get_tracer(__name__).start_span(name)


def _present() -> "Span | None":
    if _provider is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    span = get_current_span()
    return span if span.get_span_context().is_valid else None

"""An OTLP receiver of the tests' own, over HTTP on loopback: it keeps the spans that exporters send."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

# The environment of training has no traces.
_collector = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was exported; ids are hexadecimal, times are nanoseconds."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    begin: int
    end: int
    kind: int
    failed: bool
    attributes: dict[str, str] = field(default_factory=dict)


class OtlpReceiver:
    """Spans so far; ``url`` is the base address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[ReceivedSpan] = []

    def until(self, enough, patience: float = 120.0) -> list[ReceivedSpan]:
        """Wait until the spans are enough."""
        deadline = time.monotonic() + patience
        while not enough(self.spans):
            found = sorted({(one.service, one.name, one.trace) for one in self.spans})
            assert time.monotonic() < deadline, f"spans: {found}"
            time.sleep(0.05)
        return list(self.spans)


@contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    """A receiver in a thread of its own."""

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "json" in self.headers["Content-Type"]:  # Triton's exporter
                receiver.spans += _of_json(_in_camel_case(json.loads(body)))
            else:
                receiver.spans += _of_protobuf(_collector.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


def _of_protobuf(request: _collector.ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        named = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    named.get("service.name", ""),
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.kind,
                    span.status.code == 2,
                    {
                        each.key: each.value.string_value or str(each.value.int_value)
                        for each in span.attributes
                    },
                )


def _in_camel_case(value: Any) -> Any:
    """The value with its names as OTLP's JSON has them: Triton's exporter writes ``resource_spans``."""
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _in_camel_case(each)
        for name, each in value.items()
    }


def _of_json(request: dict[str, Any]) -> Iterator[ReceivedSpan]:
    for resource in request["resourceSpans"]:
        attributes = resource["resource"].get("attributes", ())
        named = {each["key"]: str(next(iter(each["value"].values()), "")) for each in attributes}
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield ReceivedSpan(
                    named.get("service.name", ""),
                    span["name"],
                    span["traceId"].lower(),
                    span["spanId"].lower(),
                    span.get("parentSpanId", "").lower(),
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    int(span.get("kind", 0)),
                    failed=False,
                )

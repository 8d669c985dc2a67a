"""A real OpenTelemetry Collector between what exports spans and the tests' receiver.

``otelcol`` must be installed. It needs the OTLP receiver and the OTLP exporter over HTTP.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from stream.local.ports import free_ports, is_listening

PROGRAM = shutil.which("otelcol")
_PATIENCE = 60.0


@contextmanager
def collecting(folder: Path, forward_to: str) -> Iterator[str]:
    """Run a collector, and give the base address at which it takes spans.

    Args:
        folder: For its configuration and its log.
        forward_to: Base address of what it exports to.
    """
    assert PROGRAM is not None
    (port,) = free_ports(1)
    config = folder / "otelcol.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
                "exporters": {"otlphttp": {"endpoint": forward_to, "compression": "none"}},
                "service": {
                    "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
                    "telemetry": {"metrics": {"level": "none"}},
                },
            }
        ),
        encoding="utf-8",
    )
    log_file = folder / "otelcol.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([PROGRAM, f"--config={config}"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not is_listening(port):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)

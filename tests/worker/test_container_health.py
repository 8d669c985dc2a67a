"""Health of a worker in its container."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from stream.worker import container_health


@pytest.fixture
def pages():
    """Statuses of the worker's pages, by path; they can be changed. ``url`` is their address."""
    statuses = {"/livez": 200, "/readyz": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(statuses[self.path])
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    statuses["url"] = f"http://127.0.0.1:{server.server_port}"
    yield statuses
    server.shutdown()
    server.server_close()


@pytest.fixture
def check(pages, tmp_path, monkeypatch):
    """Run the check once, with an end after two failures; returns its status and the signals so far."""
    sent = []
    monkeypatch.setattr("os.kill", lambda *sending: sent.append(sending))

    def run():
        options = ["--url", pages["url"], "--state", str(tmp_path / "state"), "--end-after", "2"]
        monkeypatch.setattr(sys, "argv", ["container_health", *options])
        return container_health.main(), list(sent)

    return run


def test_container_health_is_readiness(check, pages):
    """A worker without its broker or model is unhealthy, and is never ended for it."""
    assert check() == (0, [])
    pages["/readyz"] = 503
    for _ in range(5):
        assert check() == (1, [])


def test_container_health_ends_a_worker_that_a_restart_would_help(check, pages):
    """A worker whose /livez was well and fails twice in a row is ended, and not before."""
    check()
    for livez, sent in ((503, []), (200, []), (503, []), (503, [(-1, signal.SIGKILL)])):
        pages["/livez"] = livez
        assert check()[1] == sent


def test_container_health_ends_a_worker_that_does_not_answer(check, pages):
    """No answer is a failure too: the worker's process stands still."""
    check()
    pages["url"] = "http://127.0.0.1:9"
    assert check() == (1, [])
    assert check() == (1, [(-1, signal.SIGKILL)])


def test_container_health_lets_a_worker_start(check, pages):
    """A worker that has not been well yet is not ended."""
    pages["url"] = "http://127.0.0.1:9"
    for _ in range(5):
        assert check() == (1, [])

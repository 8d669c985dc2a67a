"""Health of a server by a real token."""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[2] / "triton_models" / "one_token.py"
TOKEN = {"outputs": [{"name": "output_ids", "data": [7]}, {"name": "sequence_length", "data": [1]}]}
NONE = {"outputs": [{"name": "output_ids", "data": []}, {"name": "sequence_length", "data": [0]}]}

spec = spec_from_file_location("one_token", SCRIPT)
one_token = module_from_spec(spec)
spec.loader.exec_module(one_token)


class Server:
    """Answers every request with one status and body."""

    def __init__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(json.dumps(server.body).encode())

            def log_message(self, *_):
                """Keep quiet."""

        self.status, self.body = 200, TOKEN
        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    """A server that gives a token until told otherwise."""
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def check(server, tmp_path, monkeypatch):
    """Run the check once; returns its status and the signals that it sent."""
    sent = []
    monkeypatch.setattr("os.kill", lambda *sending: sent.append(sending))

    def run(*options):
        state = ["--state", str(tmp_path / "state")]
        monkeypatch.setattr(sys, "argv", ["one_token.py", "--url", server.url, *state, *options])
        return one_token.main(), list(sent)

    return run


def test_one_token_is_health(check):
    """A server that gives a token is healthy."""
    assert check() == (0, [])


@pytest.mark.parametrize(("status", "body"), [(500, {"error": "Executor failed"}), (200, NONE), (200, {})])
def test_one_token_missing_is_illness(check, server, status, body):
    """An error, an empty answer and an answer of another kind are no health."""
    server.status, server.body = status, body
    assert check() == (1, [])


def test_one_token_missing_ends_a_server_that_was_healthy(check, server):
    """A server that was healthy is ended after so many failures in a row, and not before."""
    check()
    server.status = 500
    for _ in range(2):
        assert check("--end-after", "3") == (1, [])
    server.status = 200
    assert check("--end-after", "3") == (0, [])
    server.status = 500
    for _ in range(2):
        assert check("--end-after", "3") == (1, [])
    assert check("--end-after", "3") == (1, [(1, signal.SIGTERM)])


def test_one_token_missing_lets_a_server_load(check, server):
    """A server that has never been healthy is not ended: it may be loading its model."""
    server.status = 503
    for _ in range(5):
        assert check("--end-after", "3") == (1, [])

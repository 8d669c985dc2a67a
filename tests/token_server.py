"""A token endpoint of the tests' own: client credentials for JSON Web Tokens that a broker can check."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE = "https://issuer.test", "kafka"


class TokenIssuer:
    """Signs tokens, and answers for one client.

    Attributes:
        life: Seconds from now at which new tokens end.
        secret: Of the client.
        forms: Requests that were served.
        issued: Tokens that were given.
    """

    def __init__(self, subject: str, secret: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._subject = subject
        self.secret = secret
        self.life = 300.0
        self.audience = AUDIENCE
        self.forms: list[dict[str, list[str]]] = []
        self.issued: list[str] = []
        self.url = ""

    def write_keys(self, file: Path) -> Path:
        """Write the public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig"} | {
            name: _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
            for name, value in (("n", numbers.n), ("e", numbers.e))
        }
        file.write_text(json.dumps({"keys": [key]}))
        return file

    def token(self) -> str:
        """Sign a token."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": self.audience, "sub": self._subject, "scope": "documents"}
        claims |= {"iat": now - 60, "exp": int(now + self.life)}
        signed = b".".join(
            _base64(json.dumps(part).encode()).encode()
            for part in ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        )
        return f"{signed.decode()}.{_base64(self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))}"

    def answer(self, login: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Status and body for a request."""
        self.forms.append(form)
        wanted = base64.b64encode(f"{self._subject}:{self.secret}".encode()).decode()
        if login != f"Basic {wanted}":
            return 401, {"error": "invalid_client"}
        self.issued.append(self.token())
        return 200, {"access_token": self.issued[-1], "token_type": "bearer", "expires_in": int(self.life)}

    @contextmanager
    def serve(self) -> Iterator["TokenIssuer"]:
        """Serve on a free loopback port; ``url`` is the endpoint."""
        issuer = self

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = issuer.answer(self.headers["Authorization"], parse_qs(body))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/token"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

"""A schema registry of the tests' own, with Confluent's paths and error codes, in this process."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class RegistryServer:
    """Schemas by id and by subject.

    Attributes:
        url: Address to set.
        asked: Paths in the order of the requests.
        failure: Answers everything in place of the registry, while it is set.
        login: User and password to ask for; None asks for none.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.failure: web.Response | None = None
        self.login: tuple[str, str] | None = None
        self._schemas: dict[int, dict[str, Any]] = {}
        self._subjects: dict[str, list[int]] = {}

    def add(self, subject: str, schema: Any, *, kind: str = "AVRO", references: tuple[str, ...] = ()) -> int:
        """Register a schema; references are subjects, in their first version. Returns its id."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        known = [{"name": each, "subject": each, "version": 1} for each in references]
        answer = {"schema": text, "references": known}
        if kind != "AVRO":  # as Confluent's registry leaves it out
            answer["schemaType"] = kind
        number = len(self._schemas) + 1
        self._schemas[number] = answer
        self._subjects.setdefault(subject, []).append(number)
        return number

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        self.asked.append(request.path)
        if self.failure is not None:
            return web.Response(
                status=self.failure.status, body=self.failure.body, headers=self.failure.headers
            )
        if self.login and request.headers.get("Authorization") != _basic(*self.login):
            return _json(401, {"error_code": 40101, "message": "Unauthorized"})
        return await self._found(request)

    async def _found(self, request: web.Request) -> web.Response:
        match request.method, *request.path.strip("/").split("/"):
            case "GET", "schemas", "types":
                return _json(200, ["AVRO", "JSON"])
            case "GET", "schemas", "ids", number:
                found = self._schemas.get(int(number))
                return _json(200, found) if found else _absent(40403)
            case "GET", "subjects", subject, "versions", version:
                return _json(200, self._schemas[self._subjects[subject][int(version) - 1]])
            case "POST", "subjects", subject, *versions:
                return self._posted(subject, await request.json(), register=bool(versions))
        return web.Response(status=404, text="no such page")

    def _posted(self, subject: str, body: dict[str, Any], *, register: bool) -> web.Response:
        same = [
            one for one in self._subjects.get(subject, ()) if self._schemas[one]["schema"] == body["schema"]
        ]
        if same:
            return _json(200, {"id": same[0]})
        if not register:
            return _absent(40401)
        return _json(200, {"id": self.add(subject, body["schema"], kind=body["schemaType"])})


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[RegistryServer]:
    """A registry that answers, with TLS where there is a context."""
    server = RegistryServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        server.url = f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def _json(status: int, content: Any) -> web.Response:
    return web.json_response(content, status=status)


def _absent(code: int) -> web.Response:
    return _json(404, {"error_code": code, "message": "not found"})


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

"""A real Kafka that asks for logins and certificates, with rights for those who have been given some."""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from stream.local.kafka import Kafka
from stream.local.ports import LOOPBACK, free_ports
from stream.local.reaper import Reaper
from stream.settings import Settings
from tests.certificates import Authority
from tests.integration.running_service import RunningService
from tests.token_server import AUDIENCE, ISSUER, TokenIssuer

USER, PASSWORD = "alice", "pass-of-alice-1"
WORKER, WORKER_PASSWORD = "worker", "pass-of-worker-1"
_MECHANISMS = {
    "PLAIN": "plain",
    "SCRAM-SHA-256": "scram",
    "SCRAM-SHA-512": "scram",
    "OAUTHBEARER": "oauthbearer",
}
_MODULES = {
    "plain": f'plain.PlainLoginModule required user_{USER}="{PASSWORD}"',
    "scram": "scram.ScramLoginModule required",
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule required",
}
# Name and protocol; ADMIN alone is for the tests themselves.
LISTENERS = {
    "ADMIN": "PLAINTEXT",
    "LOGIN": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "SAFE": "SASL_SSL",
    "SHORT": "SASL_SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
}
SESSION = 2.0  # seconds of a session of the listener SHORT, which wants a certificate as well as a login
_OPERATIONS = {
    "read": 3,
    "write": 4,
    "create": 5,
    "describe": 8,
    "describeconfigs": 10,
}
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional_id": 5}
_PATTERNS = {"literal": 3, "prefixed": 4}
_ALLOW, _SCRAM_SHA_512, _ITERATIONS = 3, 2, 4096


@dataclass(frozen=True)
class SecuredKafka(Kafka):
    """The embedded broker with more listeners, each with a protection of its own."""

    ports: dict[str, int] = field(default_factory=dict)
    certificates: Path = Path()
    keys: Path = Path()

    def _settings(self) -> dict[str, object]:
        values = super()._settings()
        places = {name: f"{name}://{LOOPBACK}:{port}" for name, port in self.ports.items()}
        values |= {
            "listeners": f"{','.join(places.values())},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": ",".join(places.values()),
            "inter.broker.listener.name": "ADMIN",
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in {**LISTENERS, "CONTROLLER": "PLAINTEXT"}.items()
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER}",
            "auto.create.topics.enable": "false",
            "sasl.oauthbearer.jwks.endpoint.url": self.keys.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        }
        for name, protocol in LISTENERS.items():
            values |= self._listener(name.lower(), protocol)
        return values

    def _listener(self, name: str, protocol: str) -> dict[str, str]:
        prefix = f"listener.name.{name}."
        values = {}
        if protocol.endswith("SSL"):
            identity = {"expired": "expired", "elsewhere": "elsewhere"}.get(name, "broker")
            values |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.certificates / f"{identity}.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.certificates / "authority.pem"),
                "ssl.client.auth": "required" if name in {"mutual", "short"} else "none",
            }
        if protocol.startswith("SASL"):
            values["sasl.enabled.mechanisms"] = ",".join(_MECHANISMS)
            for mechanism, module in _MECHANISMS.items():
                of_mechanism = f"{mechanism.lower()}."
                package = "org.apache.kafka.common.security"
                values[f"{of_mechanism}sasl.jaas.config"] = f"{package}.{_MODULES[module]};"
                if name == "short":
                    values[f"{of_mechanism}connections.max.reauth.ms"] = str(int(SESSION * 1000))
            values["oauthbearer.sasl.server.callback.handler.class"] = (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
            )
        return {prefix + key: value for key, value in values.items()}

    def _java_command(self, *flags: str) -> list[str]:
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.keys.as_uri()}"
        return super()._java_command(allowed, *flags)

    def _format_options(self) -> list[str]:
        users = [
            f"{mechanism}=[name={name},password={password}]"
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for name, password in ((USER, PASSWORD), (WORKER, WORKER_PASSWORD))
        ]
        added = [argument for user in users for argument in ("--add-scram", user)]
        return [*super()._format_options(), *added]


class RunningSecuredKafka(RunningService):
    """A broker with certificates, users, tokens and rights."""

    def __init__(self, folder: Path, reaper: Reaper, issuer: TokenIssuer) -> None:
        self.authority = Authority(folder / "certificates")
        self.authority.issue("broker")
        self.authority.issue("expired", life=timedelta(days=-1))
        self.authority.issue("elsewhere", hosts=("elsewhere.test",))
        self.issuer = issuer
        *ports, controller_port = free_ports(len(LISTENERS) + 1)
        self.ports = dict(zip(LISTENERS, ports, strict=True))
        service = SecuredKafka(
            folder=folder,
            cache=Settings().cache_dir,
            port=self.ports["ADMIN"],
            controller_port=controller_port,
            log_file=folder / "kafka.log",
            ports=self.ports,
            certificates=folder / "certificates",
            keys=issuer.write_keys(folder / "keys.json"),
        )
        super().__init__(service, reaper)

    def at(self, listener: str) -> str:
        """host:port of a listener."""
        return f"{LOOPBACK}:{self.ports[listener]}"

    async def allow(self, user: str, *rights: tuple[str, str, str]) -> None:
        """Give rights: operation, kind of resource, and its name, which is a prefix where it ends with *."""
        for operation, kind, name in rights:
            pattern = "prefixed" if name.endswith("*") else "literal"
            request = CreateAclsRequest(
                _RESOURCES[kind],
                name.removesuffix("*"),
                _PATTERNS[pattern],
                f"User:{user}",
                "*",
                _OPERATIONS[operation],
                _ALLOW,
            )
            answer = await self._ask(request)
            assert [code for code, _ in answer.creation_responses] == [0], answer

    async def set_password(self, user: str, password: str) -> None:
        """Replace the password of a user of SCRAM-SHA-512."""
        answer = await self._ask(AlterUserScram(user, password))
        assert [code for _, code, *_ in answer.results] == [0], answer

    async def _ask(self, request: Any) -> Any:
        client = AIOKafkaClient(bootstrap_servers=self.at("ADMIN"))
        await client.bootstrap()
        try:
            return await client.send(client.get_random_node(), request)
        finally:
            await client.close()


class AlterUserScramResponse(Response):
    """Result by user."""

    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString()),
                ("code", Int16),
                ("message", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUserScramStruct(RequestStruct):
    """New credentials of users."""

    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = AlterUserScramResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString()), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString()),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUserScram(Request[AlterUserScramStruct]):
    """A new password of one user."""

    API_KEY = 51

    def __init__(self, user: str, password: str) -> None:
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
        self._upsertion = (user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})

    def build(self, request_struct_class: type[AlterUserScramStruct]) -> AlterUserScramStruct:
        """Fill in the struct."""
        return request_struct_class([], [self._upsertion], {})


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSecuredKafka]:
    """One broker for the whole run; use topics, groups and, for rights, users of your own."""
    folder = tmp_path_factory.mktemp("secured-kafka")
    with Reaper() as reaper, TokenIssuer(USER, "secret-of-alice").serve() as issuer:
        broker = RunningSecuredKafka(folder, reaper, issuer)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()

"""A real Triton over TLS and over mutual TLS: good connections, and bad ones with their causes."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stream.doctor.triton import check_triton
from stream.generation import Prompt
from stream.inference.triton import TritonGenerator
from stream.local.ports import LOOPBACK, free_ports, is_listening
from stream.local.reaper import Reaper
from stream.local.triton import TritonServer, why_unavailable
from stream.settings import Settings
from stream.tls import TlsFiles
from tests.certificates import Authority, Identity
from tests.integration.running_service import RunningService
from tests.integration.triton_fixture import MODELS

pytestmark = pytest.mark.integration

_PROMPT = Prompt(tuple(range(40, 70)), 6, 2**31 - 1)


@dataclass(frozen=True)
class SecuredTriton(TritonServer):
    """The embedded Triton with TLS, which asks clients for their certificates."""

    flags: list[str] = field(default_factory=list)
    tls: TlsFiles | None = None

    def command(self) -> list[str]:
        """The same with the flags of TLS."""
        return [*super().command(), *self.flags]

    async def is_ready(self) -> bool:
        """Ask over TLS."""
        if not is_listening(self.grpc_port):
            return False
        client = TritonGenerator(self.url, tls=self.tls)
        try:
            return await client.ready()
        finally:
            await client.close()


@dataclass(frozen=True)
class Secured:
    """A running server, and those who may know it."""

    url: str
    authority: Authority
    client: Identity

    def settings(self, **changes: object) -> Settings:
        """Settings that reach it, changed; None leaves one out."""
        values = {
            "triton_url": self.url,
            "triton_ssl": True,
            "triton_ssl_ca_location": self.authority.file,
            "triton_ssl_certificate_location": self.client.certificate,
            "triton_ssl_key_location": self.client.key,
            **changes,
        }
        return Settings(**{name: value for name, value in values.items() if value is not None})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Secured]:
    """A server with mutual TLS."""
    if reason := why_unavailable():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("secured-triton")
    authority = Authority(folder / "certificates")
    server, client = authority.issue("triton"), authority.issue("client")
    http_port, grpc_port, metrics_port = free_ports(3)
    service = SecuredTriton(
        folder=folder,
        models=MODELS,
        checkpoint=tiny_checkpoint,
        threads=1,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        log_file=folder / "triton.log",
        flags=[
            "--grpc-use-ssl=1",
            "--grpc-use-ssl-mutual=1",
            f"--grpc-server-cert={server.certificate}",
            f"--grpc-server-key={server.key}",
            f"--grpc-root-cert={authority.file}",
        ],
        tls=TlsFiles("PADELLM_TRITON_SSL", authority.file, client.certificate, client.key),
    )
    with Reaper() as reaper:
        running = RunningService(service, reaper)
        try:
            running.start()
            yield Secured(f"{LOOPBACK}:{grpc_port}", authority, client)
        finally:
            running.stop()


async def _first_finding(settings: Settings) -> tuple[str, str]:
    findings = check_triton(settings)
    try:
        found = await anext(findings)
        return str(found.grade), found.found
    finally:
        await findings.aclose()


async def test_triton_access_serves_over_mutual_tls(secured):
    """The client answers, and `padellm doctor` finds the model, over mutual TLS."""
    files = TlsFiles(
        "PADELLM_TRITON_SSL", secured.authority.file, secured.client.certificate, secured.client.key
    )
    generator = TritonGenerator(secured.url, tls=files)
    try:
        assert len((await generator.generate(_PROMPT)).ids) == 6
    finally:
        await generator.close()
    assert (await _first_finding(secured.settings()))[0] == "ok"


NO_CLIENT = {"triton_ssl_certificate_location": None, "triton_ssl_key_location": None}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"triton_ssl": None, "triton_ssl_ca_location": None, **NO_CLIENT}, "set PADELLM_TRITON_SSL=true"),
        (NO_CLIENT, "PADELLM_TRITON_SSL_CERTIFICATE_LOCATION"),
        ({"triton_ssl_ca_location": "foreign"}, "is not signed by PADELLM_TRITON_SSL_CA_LOCATION="),
        ({"triton_ssl_key_location": "foreign"}, "does not belong to"),
        ({"triton_ssl_ca_location": "/nowhere"}, "PADELLM_TRITON_SSL_CA_LOCATION=/nowhere cannot be read"),
    ],
)
async def test_triton_access_names_cause_and_setting(secured, tmp_path, changes, cause):
    """`padellm doctor` names the cause of a connection that cannot work, and the setting to change."""
    foreign = Authority(tmp_path, "foreign")
    own = {"triton_ssl_ca_location": foreign.file, "triton_ssl_key_location": foreign.issue("client").key}
    values = {name: own[name] if value == "foreign" else value for name, value in changes.items()}
    async with asyncio.timeout(30):
        grade, found = await _first_finding(secured.settings(**values))
    assert (grade, cause in found) == ("fail", True), found

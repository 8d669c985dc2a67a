"""TLS of the Triton client, against gRPC's own server: good connections, bad ones and their causes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from stream.errors import ConfigurationError, InferenceError
from stream.generation import Prompt
from stream.inference.triton import TritonGenerator
from stream.tls import TlsFiles
from tests.certificates import Authority, Identity
from tests.inference.relayed_triton import ANSWER, RelayedTriton

_PROMPT = Prompt((1, 2, 3), 4, 5)


class _ReadyTriton(RelayedTriton):
    """Says that it is ready, and keeps to the length that a prompt allows."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer with as many ids as are asked for."""
        response = await super().ModelInfer(request, context)
        length = min(len(ANSWER), int.from_bytes(request.raw_input_contents[0], "little"))
        response.raw_output_contents[1] = length.to_bytes(4, "little")
        return response

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Ready."""
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Ready."""
        return service_pb2.ModelReadyResponse(ready=True)


@asynccontextmanager
async def serving(identity: Identity | None, clients: Authority | None = None) -> AsyncIterator[int]:
    """A server with this certificate, which asks clients for theirs if it knows their authority; its port."""
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_ReadyTriton(), server)
    if identity is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (identity.key.read_bytes(), identity.certificate.read_bytes())
        root = clients.file.read_bytes() if clients is not None else None
        credentials = grpc.ssl_server_credentials([pair], root, require_client_auth=root is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def client(port: int, files: TlsFiles | None) -> AsyncIterator[TritonGenerator]:
    """A client of it."""
    generator = TritonGenerator(f"127.0.0.1:{port}", tls=files, call_deadline=0.3)
    try:
        yield generator
    finally:
        await generator.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority."""
    return Authority(tmp_path / "authority")


def tls(authority: Authority, identity: Identity | None = None) -> TlsFiles:
    """A client's files."""
    if identity is None:
        return TlsFiles("PADELLM_TRITON_SSL", authority.file)
    return TlsFiles("PADELLM_TRITON_SSL", authority.file, identity.certificate, identity.key)


@pytest.mark.parametrize("mutual", [False, True])
async def test_triton_tls_answers(authority: Authority, *, mutual: bool) -> None:
    """A prompt is answered over TLS, and over mutual TLS with this program's certificate."""
    identity = authority.issue("client") if mutual else None
    async with (
        serving(authority.issue("triton"), authority if mutual else None) as port,
        client(port, tls(authority, identity)) as generator,
    ):
        assert await generator.ready()
        assert (await generator.generate(_PROMPT)).ids == ANSWER
        assert generator.trouble is None


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("plain to TLS", "the port speaks TLS: set PADELLM_TRITON_SSL=true"),
        ("TLS to plain", "the port"),
        ("another authority", "is not signed by PADELLM_TRITON_SSL_CA_LOCATION="),
        ("expired", "the server's certificate has expired"),
        ("another host", "is not for 127.0.0.1"),
        ("no certificate", "PADELLM_TRITON_SSL_CERTIFICATE_LOCATION"),
        ("foreign certificate", "PADELLM_TRITON_SSL_CERTIFICATE_LOCATION="),
    ],
)
async def test_triton_tls_names_cause_and_setting(
    authority: Authority, tmp_path: Path, case: str, cause: str
) -> None:
    """A connection that cannot work names its cause and the setting to change, probed or called."""
    foreign = Authority(tmp_path / "foreign", "foreign")
    issue = {
        "expired": lambda: authority.issue("triton", life=timedelta(days=-1)),
        "another host": lambda: authority.issue("triton", hosts=("elsewhere.test",)),
        "TLS to plain": lambda: None,
    }.get(case, lambda: authority.issue("triton"))
    files = {
        "plain to TLS": None,
        "another authority": TlsFiles("PADELLM_TRITON_SSL", foreign.file),
        "foreign certificate": tls(authority, foreign.issue("client")),
    }.get(case, tls(authority))
    asks = case in {"no certificate", "foreign certificate"}
    async with serving(issue(), authority if asks else None) as port, client(port, files) as generator:
        assert not await generator.ready()
        assert cause in (generator.trouble or "")
        with pytest.raises(InferenceError, match="Triton at") as error:
            await generator.generate(_PROMPT)
        assert cause in str(error.value)


async def test_triton_tls_takes_replaced_files(authority: Authority, tmp_path: Path) -> None:
    """Files that are replaced while the client runs are used from its next look on; a call in flight ends."""
    foreign = Authority(tmp_path / "foreign", "foreign")
    refused, mine = foreign.issue("client"), authority.issue("client")
    files = tls(authority, refused)
    async with serving(authority.issue("triton"), authority) as port, client(port, files) as generator:
        assert not await generator.ready()
        mine.key.replace(refused.key)
        assert not await generator.ready(), "half replaced"
        mine.certificate.replace(refused.certificate)
        async with asyncio.timeout(20):
            while not await generator.ready():  # noqa: ASYNC110 - gRPC connects when it likes
                await asyncio.sleep(0.05)
        assert (await generator.generate(_PROMPT)).ids == ANSWER


def test_triton_tls_refuses_an_encrypted_key(authority: Authority) -> None:
    """To gRPC no password can be given for a key: an encrypted one is named at once."""
    identity = authority.issue("client", password="secret")
    with pytest.raises(ConfigurationError, match=r"PADELLM_TRITON_SSL_KEY_LOCATION=.* is encrypted"):
        TritonGenerator("127.0.0.1:1", tls=tls(authority, identity))

"""This program's end of TLS."""

import asyncio
import ssl
from datetime import timedelta

import pytest

from stream.errors import ConfigurationError
from stream.tls import TlsFiles, handshake_trouble
from tests.certificates import Authority


async def _served_by(authority, identity, files, host="localhost", *, mutual=False):
    """Bytes from a server of this identity, through a handshake with these files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)

    async def answer(_reader, writer):
        writer.write(b"served")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(host, port, ssl=files.context())
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.fixture
def authority(tmp_path):
    """An authority."""
    return Authority(tmp_path / "first")


async def test_tls_files_may_be_replaced(authority, tmp_path):
    """After the files were replaced by another authority's, the next handshake uses them and no old one."""
    other = Authority(tmp_path / "second")
    mine, yours = authority.issue("client"), other.issue("client")
    files = TlsFiles("PADELLM_SSL", authority.file, mine.certificate, mine.key)
    assert await _served_by(authority, authority.issue("server"), files, mutual=True) == b"served"
    for old, new in (
        (authority.file, other.file),
        (mine.certificate, yours.certificate),
        (mine.key, yours.key),
    ):
        new.replace(old)
    replaced = Authority(tmp_path / "third")
    with pytest.raises(ssl.SSLCertVerificationError):
        await _served_by(replaced, replaced.issue("server"), files)
    other.file = authority.file
    assert await _served_by(other, other.issue("server"), files, mutual=True) == b"served"


def test_tls_files_are_read_once_while_they_stay(authority):
    """Files that nobody replaced are not read again for each connection."""
    files = TlsFiles("PADELLM_SSL", authority.file)
    assert files.context() is files.context()


def test_tls_files_notice_that_the_certificate_expires(authority, monkeypatch):
    """A certificate that ends while the program runs is named from then on, and no more shown to others."""
    mine = authority.issue("client", life=timedelta(hours=1))
    files = TlsFiles("PADELLM_SSL", authority.file, mine.certificate, mine.key)
    files.context()

    class _Later:
        @staticmethod
        def now(zone):
            return real.now(zone) + timedelta(hours=2)

        @staticmethod
        def fromtimestamp(time, zone):
            return real.fromtimestamp(time, zone)

    import stream.tls

    real = stream.tls.datetime
    monkeypatch.setattr(stream.tls, "datetime", _Later)
    with pytest.raises(ConfigurationError, match="the certificate expired on"):
        files.context()


def test_tls_names_a_server_certificate_that_is_not_valid_yet():
    """A clock that goes wrong is a cause of its own."""
    error = ssl.SSLCertVerificationError("certificate is not yet valid")
    error.verify_code = 9
    assert "compare the clocks" in (handshake_trouble(error, "kafka", TlsFiles("PADELLM_SSL")) or "")

"""Connections to a broker that asks for logins and certificates: good ones, and bad ones and their causes."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stream.errors import PadellmError
from stream.kafka.topics import missing_topics
from stream.settings import Settings
from tests.certificates import Authority
from tests.integration.secured_kafka import PASSWORD, USER, RunningSecuredKafka

pytestmark = pytest.mark.integration

CLEAR, LOGIN, TLS, BOTH = "PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Connection:
    """One way to connect.

    Attributes:
        listener: Of the broker.
        protocol: ``PADELLM_SECURITY_PROTOCOL``.
        mechanism: ``PADELLM_SASL_MECHANISM``.
        identity: Client certificate, by the name that ``identities`` has.
        problem: Parts of the sentence that it must fail with; empty where it must succeed.
        others: Further settings; ``{name}`` stands for a place of ``places``.
    """

    listener: str
    protocol: str
    mechanism: str | None = None
    identity: str | None = None
    problem: tuple[str, ...] = ()
    others: dict[str, str] = field(default_factory=dict)


def _wrong(
    listener: str, protocol: str, *problem: str, mechanism: str | None = None, **others: str
) -> Connection:
    identity = others.pop("identity", None)
    return Connection(listener, protocol, mechanism, identity, problem, others)


GOOD = {
    "plain text": Connection("ADMIN", CLEAR),
    **{f"{each} in clear text": Connection("LOGIN", LOGIN, each) for each in MECHANISMS},
    **{f"{each} over TLS": Connection("SAFE", BOTH, each) for each in MECHANISMS},
    "token in clear text": Connection("LOGIN", LOGIN, "OAUTHBEARER"),
    "token over TLS": Connection("SAFE", BOTH, "OAUTHBEARER"),
    "TLS": Connection("TLS", TLS),
    "TLS to a host name": Connection("TLS", TLS, others={"broker": "localhost:{port}"}),
    "mutual TLS": Connection("MUTUAL", TLS, identity="client"),
    "mutual TLS from one file": Connection(
        "MUTUAL", TLS, others={"ssl_certificate_location": "{client}.pem"}
    ),
    "mutual TLS, encrypted key": Connection(
        "MUTUAL", TLS, identity="encrypted", others={"ssl_key_password": "of the key"}
    ),
    "password from a file": Connection(
        "SAFE", BOTH, "PLAIN", others={"sasl_password": "", "sasl_password_file": "{password}"}
    ),
    "second of two servers": Connection("TLS", TLS, others={"broker": "127.0.0.1:1,127.0.0.1:{port}"}),
}
BAD = {
    **{
        f"wrong password, {each}": _wrong(
            "SAFE",
            BOTH,
            "refuses PADELLM_SASL_USERNAME=alice",
            "PADELLM_SASL_PASSWORD",
            mechanism=each,
            sasl_password="no",
        )
        for each in MECHANISMS
    },
    "unknown user": _wrong(
        "SAFE",
        BOTH,
        "refuses PADELLM_SASL_USERNAME=mallory",
        mechanism="SCRAM-SHA-512",
        sasl_username="mallory",
    ),
    "token endpoint refuses the client": _wrong(
        "SAFE",
        BOTH,
        "401 invalid_client",
        "PADELLM_SASL_OAUTHBEARER_CLIENT_ID",
        mechanism="OAUTHBEARER",
        sasl_oauthbearer_client_secret="no",
    ),
    "token endpoint away": _wrong(
        "SAFE",
        BOTH,
        "no token from http://127.0.0.1:1/",
        mechanism="OAUTHBEARER",
        sasl_oauthbearer_token_endpoint_url="http://127.0.0.1:1/",
    ),
    "certificate of another authority": _wrong(
        "TLS", TLS, "is not signed by PADELLM_SSL_CA_LOCATION=", ssl_ca_location="{foreign}.pem"
    ),
    "certificate of no authority of the system": _wrong(
        "TLS", TLS, "is not signed by the system's authorities", "PADELLM_SSL_CA_LOCATION", ssl_ca_location=""
    ),
    "broker's certificate expired": _wrong("EXPIRED", TLS, "the server's certificate has expired"),
    "broker's certificate for another host": _wrong("ELSEWHERE", TLS, "is not for 127.0.0.1"),
    "client without a certificate": _wrong(
        "MUTUAL", TLS, "asks for a certificate: set PADELLM_SSL_CERTIFICATE_LOCATION"
    ),
    "client's certificate expired": _wrong(
        "MUTUAL",
        TLS,
        "PADELLM_SSL_CERTIFICATE_LOCATION=",
        "the certificate expired on",
        identity="expired client",
    ),
    "client's certificate of another authority": _wrong(
        "MUTUAL", TLS, "refuses the certificate of PADELLM_SSL_CERTIFICATE_LOCATION=", identity="foreign"
    ),
    "key of another certificate": _wrong(
        "MUTUAL",
        TLS,
        "PADELLM_SSL_KEY_LOCATION=",
        "does not belong to",
        identity="client",
        ssl_key_location="{foreign}.key",
    ),
    "key's password missing": _wrong(
        "MUTUAL", TLS, "is encrypted; set PADELLM_SSL_KEY_PASSWORD", identity="encrypted"
    ),
    "key's password wrong": _wrong(
        "MUTUAL", TLS, "PADELLM_SSL_KEY_PASSWORD is wrong", identity="encrypted", ssl_key_password="no"
    ),
    "key missing": _wrong(
        "MUTUAL",
        TLS,
        "PADELLM_SSL_KEY_LOCATION=/nowhere cannot be read: No such file",
        identity="client",
        ssl_key_location="/nowhere",
    ),
    "key unreadable": _wrong(
        "MUTUAL", TLS, "PADELLM_SSL_KEY_LOCATION=/ cannot be read", identity="client", ssl_key_location="/"
    ),
    "authorities that are none": _wrong(
        "TLS", TLS, "PADELLM_SSL_CA_LOCATION=", "holds no PEM certificate", ssl_ca_location="{password}"
    ),
    "password's file missing": _wrong(
        "SAFE",
        BOTH,
        "PADELLM_SASL_PASSWORD_FILE=/nowhere cannot be read",
        mechanism="PLAIN",
        sasl_password="",
        sasl_password_file="/nowhere",
    ),
    "plain text to TLS": _wrong("TLS", CLEAR, "the port speaks TLS: set PADELLM_SECURITY_PROTOCOL=SSL"),
    "plain text to a login": _wrong(
        "LOGIN", CLEAR, "wants a login, PADELLM_SECURITY_PROTOCOL=SASL_PLAINTEXT"
    ),
    "TLS to plain text": _wrong("ADMIN", TLS, "PADELLM_SECURITY_PROTOCOL=SSL: is it a TLS port?"),
    "TLS to a login": _wrong("SAFE", TLS, "wants a login, PADELLM_SECURITY_PROTOCOL=SASL_SSL"),
    "login over TLS to plain text": _wrong(
        "LOGIN", BOTH, "PADELLM_SECURITY_PROTOCOL=SASL_SSL: is it a TLS port?", mechanism="PLAIN"
    ),
    "login in clear text to TLS": _wrong(
        "SAFE", LOGIN, "the port speaks TLS: set PADELLM_SECURITY_PROTOCOL=SASL_SSL", mechanism="PLAIN"
    ),
    "login where none is taken": _wrong(
        "TLS", BOTH, "takes no login: set PADELLM_SECURITY_PROTOCOL=SSL", mechanism="PLAIN"
    ),
    "nobody there": _wrong("ADMIN", CLEAR, "127.0.0.1:1: ", "Connect call failed", broker="127.0.0.1:1"),
}


@pytest.fixture(scope="module")
def places(secured_kafka: RunningSecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that connections name, by name; certificates without their ends."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "password").write_text(f"{PASSWORD}\n")
    secured_kafka.authority.issue("client")
    secured_kafka.authority.issue("encrypted", password="of the key")
    secured_kafka.authority.issue("expired client", life=timedelta(days=-1))
    foreign = Authority(folder, "another")
    identities = {
        name: secured_kafka.authority.file.with_name(name)
        for name in ("client", "encrypted", "expired client")
    }
    identities["foreign"] = foreign.issue("foreign").certificate.with_suffix("")
    return {"password": str(folder / "password"), **{name: str(path) for name, path in identities.items()}}


def _settings(connection: Connection, broker: RunningSecuredKafka, places: dict[str, str]) -> Settings:
    values: dict[str, Any] = {
        "broker": broker.at(connection.listener),
        "security_protocol": connection.protocol,
    }
    if connection.protocol.endswith("SSL"):
        values["ssl_ca_location"] = broker.authority.file
    if connection.mechanism == "OAUTHBEARER":
        values |= {
            "sasl_oauthbearer_token_endpoint_url": broker.issuer.url,
            "sasl_oauthbearer_client_id": USER,
            "sasl_oauthbearer_client_secret": broker.issuer.secret,
        }
    elif connection.mechanism:
        values |= {"sasl_username": USER, "sasl_password": PASSWORD}
    if connection.identity:
        at = Path(places[connection.identity])
        values |= {"ssl_certificate_location": f"{at}.crt", "ssl_key_location": f"{at}.key"}
    port = {"port": broker.ports[connection.listener]}
    values |= {name: value.format(**places, **port) for name, value in connection.others.items()}
    values["sasl_mechanism"] = connection.mechanism
    return Settings(**{name: value for name, value in values.items() if value not in {"", None}})


@pytest.mark.parametrize("connection", GOOD.values(), ids=GOOD)
async def test_access_connects(connection, secured_kafka, places):
    """Every kind of protection that Kafka has, and no other setting than its own, lists the topics."""
    assert len(await missing_topics(_settings(connection, secured_kafka, places))) == 3


@pytest.mark.parametrize("connection", BAD.values(), ids=BAD)
async def test_access_names_cause_and_setting(connection, secured_kafka, places):
    """A connection that cannot work fails at once, in a sentence with its cause and the setting to change."""
    with pytest.raises(PadellmError) as error:
        await missing_topics(_settings(connection, secured_kafka, places))
    assert all(part in str(error.value) for part in connection.problem), str(error.value)


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"life": -30.0}, "gave a token that has expired"),
        ({"audience": "another"}, "refuses the token of client alice"),
    ],
)
async def test_access_names_a_token_that_is_refused(secured_kafka, places, monkeypatch, claims, problem):
    """A token that has expired, or is for another service, is named; it never counts as a login."""
    for name, value in claims.items():
        monkeypatch.setattr(secured_kafka.issuer, name, value)
    with pytest.raises(PadellmError, match=problem):
        await missing_topics(_settings(GOOD["token over TLS"], secured_kafka, places))

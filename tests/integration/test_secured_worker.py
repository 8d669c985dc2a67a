"""The worker at a broker that asks for logins and certificates: least rights, rotation, no secret written."""

import asyncio
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stream.doctor.broker import check_broker
from stream.doctor.finding import Grade
from stream.errors import DeliveryError
from stream.kafka.letters import read_letters
from stream.kafka.producer import send
from stream.kafka.reader import read_topic
from stream.kafka.records import OutgoingRecord
from stream.kafka.replay import plan_replay, replayed_positions, send_again
from stream.kafka.topics import ensure_topics, missing_topics, topic_names
from stream.settings import Settings
from stream.settings.variables import environment
from tests.integration.secured_kafka import SESSION, RunningSecuredKafka
from tests.integration.secured_throughput import take_turn
from tests.integration.worker_fixture import Bench, WorkerProcess, bench_at

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
KEY_PASSWORD = "planted-key-password"


@pytest.fixture
async def bench(secured_kafka: RunningSecuredKafka, tiny_model: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    """Topics of this test, which it reaches without a login, and workers, which it does not."""
    async for one in bench_at(secured_kafka.at("ADMIN"), tiny_model, tmp_path):
        yield one


def documented_rights(program: str, settings: Settings) -> list[tuple[str, str, str]]:
    """Rights that docs/security.md names for a program, on the names of the settings."""
    (row,) = re.findall(rf"^\| `{program}`[^|]*\|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    names = {
        "documents": settings.documents_topic,
        "entities": settings.entities_topic,
        "documents.dead-letters": settings.dead_letters_topic,
        "padellm": settings.group,
        "padellm/*": f"{settings.group}/*",
    }
    found = re.findall(r"(\w+) on (topic|group|transactional id) `([^`]+)`", row)
    return [(right.lower(), kind.replace(" ", "_"), names[name]) for right, kind, name in found]


async def login(broker: RunningSecuredKafka, *rights: tuple[str, str, str]) -> dict[str, Any]:
    """A new user with these rights and no others: settings of its login."""
    user = f"user-{uuid.uuid4().hex[:8]}"
    password = f"planted-{uuid.uuid4().hex}"
    await broker.allow(user, *rights)
    await broker.set_password(user, password)
    values = {
        "broker": broker.at("SAFE"),
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": broker.authority.file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": user,
        "sasl_password": password,
    }
    async with asyncio.timeout(20):
        while True:  # until the broker knows the user, and so the rights that were given before
            with suppress(DeliveryError):
                await missing_topics(Settings(**values))
                return values


def start(bench: Bench, settings: Settings) -> WorkerProcess:
    """Start a worker with these settings."""
    names = set(Settings.model_fields) - {"health_port"}
    return bench.start_worker(**{name: getattr(settings, name) for name in names})


def with_login(settings: Settings, values: dict[str, Any]) -> Settings:
    """The same settings with a login."""
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    return Settings(**(given | values))


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_secured_worker_needs_the_documented_rights_alone(secured_kafka, bench, delivery):
    """A worker whose user may do what docs/security.md names, and nothing else, serves and commits."""
    program = "padellm worker" if delivery == "at_least_once" else "padellm worker, exactly once"
    rights = documented_rights(program, bench.settings)
    values = await login(secured_kafka, *rights)
    worker = start(bench, with_login(bench.settings, {**values, "delivery": delivery}))
    await worker.is_ready()
    await bench.produce(*(f"Ada met {number}" for number in range(19)), "Ada REJECT", partition=0)
    records = await bench.outcomes(lambda found: len(found) >= 20, isolation_level="read_committed")
    assert sorted(record.topic for record in records) == sorted(
        [bench.settings.entities_topic] * 19 + [bench.settings.dead_letters_topic]
    )
    await bench.until_committed({0: 20})
    assert worker.terminate() == 0


async def test_secured_commands_need_the_documented_rights_alone(secured_kafka, bench):
    """Each command that speaks to the broker works for a user with its documented rights and no others."""

    async def user_of(program: str, settings: Settings = bench.settings) -> Settings:
        rights = documented_rights(program, settings)
        return with_login(settings, await login(secured_kafka, *rights))

    name = f"new-{uuid.uuid4().hex[:8]}"
    new = bench.settings.model_copy(
        update={
            "documents_topic": name,
            "entities_topic": f"{name}-entities",
            "dead_letters_topic": f"{name}-dead",
        }
    )
    assert await ensure_topics(await user_of("padellm topics", new)) == list(topic_names(new))
    record = OutgoingRecord(b"1", b'{"text": "Ada REJECT"}', "Ada")
    assert await send([record], settings=await user_of("padellm produce"), on_confirmed=lambda *_: None) == 1
    worker = bench.start_worker()
    (letter,) = await bench.outcomes(lambda found: len(found) >= 1)
    assert letter.topic == bench.settings.dead_letters_topic
    worker.terminate()
    consume = await user_of("padellm consume")
    for topic in (bench.settings.entities_topic, bench.settings.documents_topic):
        records = read_topic(topic, settings=consume, from_beginning=True, follow=False)
        assert len([each async for each in records]) == (topic == bench.settings.documents_topic)
    letters = [each async for _, each in read_letters(await user_of("padellm dlq")) if each is not None]
    assert len(letters) == 1
    replay = await user_of("padellm replay")
    positions = await replayed_positions(replay, letters)
    plan = plan_replay(letters, positions, documents_topic=replay.documents_topic, most_replays=3)
    sent: list[Any] = []
    await send_again(replay, plan.send, on_confirmed=lambda *confirmed: sent.append(confirmed))
    assert len(sent) == 1
    findings = [each async for each in check_broker(await user_of("padellm doctor"))]
    assert {each.grade for each in findings} == {Grade.OK}, findings


async def _flow(bench: Bench, count: int, seconds: float) -> None:
    """Send documents evenly over a time."""
    async with bench.producer() as producer:
        for number in range(count):
            value = json.dumps({"id": f"doc-{number}", "text": "Ada sleeps"}).encode()
            await producer.send(bench.settings.documents_topic, value, key=f"doc-{number}".encode())
            await asyncio.sleep(seconds / count)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_secured_worker_takes_new_secrets_under_load(secured_kafka, bench, tmp_path, delivery):
    """Password, key and certificate are replaced while documents flow and sessions end: none is lost."""
    rights = documented_rights("padellm worker, exactly once", bench.settings)
    values = await login(secured_kafka, *rights)
    user, count = values["sasl_username"], 300
    password, place = tmp_path / "password", tmp_path / "client"
    password.write_text(values.pop("sasl_password"))

    def renew_certificate() -> None:
        fresh = secured_kafka.authority.issue(f"{user}-{uuid.uuid4().hex[:4]}")
        fresh.key.replace(place.with_suffix(".key"))
        fresh.certificate.replace(place.with_suffix(".crt"))

    renew_certificate()
    values |= {
        "broker": secured_kafka.at("SHORT"),
        "sasl_password_file": password,
        "ssl_certificate_location": place.with_suffix(".crt"),
        "ssl_key_location": place.with_suffix(".key"),
    }
    worker = start(bench, with_login(bench.settings, {**values, "delivery": delivery}))
    await worker.is_ready()
    flow = asyncio.create_task(_flow(bench, count, 3 * SESSION))
    await asyncio.sleep(SESSION / 2)  # documents flow
    await secured_kafka.set_password(user, "another password")
    password.write_text("another password")
    await asyncio.sleep(SESSION / 2)
    renew_certificate()
    await flow
    records = await bench.outcomes(
        lambda found: len({record.key for record in found}) >= count, isolation_level="read_committed"
    )
    assert {record.topic for record in records} == {bench.settings.entities_topic}
    if delivery == "exactly_once":
        assert len(records) == count
    assert worker.terminate() == 0


async def test_secured_worker_is_measured_over_tls(secured_kafka, bench):
    """The measurement of TLS and SCRAM makes an event of every document, and counts the worker's time."""
    values = await login(secured_kafka, *documented_rights("padellm worker", bench.settings))
    taken = Settings(**values)
    turn = await take_turn(bench, 100, {name: getattr(taken, name) for name in values}, warm_up=20)
    assert turn.documents_per_second > 0
    assert turn.worker_ms > 0


async def test_secured_worker_renews_its_token(secured_kafka, bench, monkeypatch):
    """A worker whose token ends every few seconds fetches new ones in time, and goes on."""
    monkeypatch.setattr(secured_kafka.issuer, "life", 4.0)
    client = secured_kafka.authority.issue("token-client")
    worker = start(bench, with_login(bench.settings, _token_login(secured_kafka) | _certificate(client)))
    await worker.is_ready()
    before = len(secured_kafka.issuer.issued)
    await _flow(bench, 100, 2.5 * SESSION)
    await bench.outcomes(lambda found: len({record.key for record in found}) >= 100)
    assert len(secured_kafka.issuer.issued) > before
    assert worker.terminate() == 0


def _token_login(broker: RunningSecuredKafka) -> dict[str, Any]:
    return {
        "broker": broker.at("SHORT"),
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": broker.authority.file,
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": broker.issuer.url,
        "sasl_oauthbearer_client_id": "alice",
        "sasl_oauthbearer_client_secret": broker.issuer.secret,
    }


def _certificate(identity: Any) -> dict[str, Any]:
    return {"ssl_certificate_location": identity.certificate, "ssl_key_location": identity.key}


async def test_secured_worker_writes_no_secret(secured_kafka, bench, tmp_path):
    """No password, key password, client secret or token is in any log, page, record or command's output."""
    values = await login(secured_kafka)
    secrets = [values["sasl_password"], KEY_PASSWORD, secured_kafka.issuer.secret]
    identity = secured_kafka.authority.issue("planted", password=KEY_PASSWORD)
    key = {**_certificate(identity), "ssl_key_password": KEY_PASSWORD}
    with_password = values | key | {"broker": secured_kafka.at("SHORT"), "sasl_mechanism": "PLAIN"}
    settings = [
        with_login(bench.settings, {**each, "log_level": "debug"})
        for each in (
            {**with_password, "sasl_mechanism": "SCRAM-SHA-512"},
            with_password,  # refused: the broker knows no such user of PLAIN
            _token_login(secured_kafka) | key,
        )
    ]
    await secured_kafka.allow(
        values["sasl_username"], ("read", "group", bench.settings.group), *_all_of(bench.settings)
    )
    workers = []
    for each, serves in zip(settings, (True, False, True), strict=True):
        workers.append(start(bench, each))
        if serves:
            await workers[-1].is_ready()
    await bench.produce("Ada met Bob", "Ada REJECT", "Ada FAULT", "Ada TIMEOUT")
    records = await bench.outcomes(lambda found: len(found) >= 4)
    written = [repr(records)]
    for worker in workers:
        written += [(await worker.page(f"/{name}"))[1] for name in ("livez", "readyz", "metrics", "version")]
    for each in settings[1:]:
        for command in (("config",), ("config", "--json"), ("doctor", "--json")):
            written.append(await asyncio.to_thread(_output, each, command))
    for worker in workers:
        worker.terminate()
        written.append(worker.log.read_text())
    assert "SaslHandShakeRequest" in written[-1], "the log holds no debug lines"
    assert "PADELLM_SASL_PASSWORD" in written[-2], "the refused worker does not say why"
    everything = "\n".join(written)
    found = [secret for secret in (*secrets, *secured_kafka.issuer.issued) if secret in everything]
    assert found == []


def _all_of(settings: Settings) -> list[tuple[str, str, str]]:
    topics = (settings.documents_topic, settings.entities_topic, settings.dead_letters_topic)
    return [(right, "topic", topic) for right in ("read", "write") for topic in topics]


def _output(settings: Settings, command: tuple[str, ...]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", *command],
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr

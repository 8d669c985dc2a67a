"""One connection to a broker."""

import logging

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslAuthenticateRequest_v1

from stream.kafka.connection import BrokerConnection


class _Answer:
    """The broker's answer to a login: the session lives for one second."""

    session_lifetime_ms = 1000


@pytest.fixture
async def connection(monkeypatch):
    """A connection whose session has just begun, and the reasons it was closed for."""
    closed = []
    monkeypatch.setattr(
        AIOKafkaConnection, "close", lambda self, reason=None, exc=None: closed.append(reason)
    )
    connection = BrokerConnection("localhost", 9092)

    async def answer():
        return _Answer()

    await connection._noted(answer())
    return connection, closed


async def test_connection_leaves_between_two_requests_before_its_session_ends(connection):
    """Near the session's end a connection closes once no request is unanswered, and not before."""
    one, closed = connection
    one.leave_if_idle()
    assert closed == []
    one._leave_at = 0.0  # long ago
    one._requests.append("unanswered")
    one.leave_if_idle()
    assert closed == []
    one._requests.clear()
    one.leave_if_idle()
    assert len(closed) == 1


def test_connection_logs_no_login(caplog):
    """The bytes of a login are in no line of aiokafka's debug log; other lines are."""
    caplog.set_level(logging.DEBUG, "aiokafka.conn")
    log = logging.getLogger("aiokafka.conn")
    log.debug("Request to %s: %s", "kafka", SaslAuthenticateRequest_v1(b"\0alice\0password"))
    log.debug("Request to %s: %s", "kafka", "Metadata")
    assert caplog.messages == ["Request to kafka: Metadata"]

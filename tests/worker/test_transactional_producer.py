"""Requests of a partition's transactions, over a client that plays the broker."""

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from stream.contract.record import Record
from stream.errors import DeliveryError
from stream.settings import Settings
from stream.worker import transactional_producer
from stream.worker.publisher import KeyRequired, MessageTooLarge, Outgoing
from stream.worker.transactional_producer import (
    Membership,
    MembershipEnded,
    MessageRefused,
    TransactionalProducer,
    TransactionInDoubt,
)

# Versions of Kafka 4.3, by key of the request.
VERSIONS = {
    0: (3, 13),
    9: (1, 10),
    12: (0, 4),
    18: (0, 4),
    22: (0, 6),
    24: (0, 5),
    25: (0, 4),
    26: (0, 5),
    28: (0, 5),
}
HEARTBEAT, INIT, FETCH, ADD, GROUP, PRODUCE, OFFSET, END = 12, 22, 9, 24, 25, 0, 28, 26
FEATURES = 18
NEWEST = b"\x02\x14transaction.version\x00\x02\x00\x02\x00"
BEGIN = [HEARTBEAT, FEATURES, INIT, FETCH]
COMMIT = [ADD, GROUP, PRODUCE, OFFSET, END]


class ScriptedClient:
    """A client whose broker answers each request with the next code of its script, then with none."""

    def __init__(self) -> None:
        self.versions = dict(VERSIONS)
        self.codes: defaultdict[int, list[int]] = defaultdict(list)
        self.sent: list[Any] = []
        self.epoch = 0
        self.features = {2: NEWEST}
        self.brokers = {0}
        self.cluster = SimpleNamespace(
            brokers=lambda: self.brokers,
            available_partitions_for_topic=lambda _: {0, 1},
            leader_for_partition=lambda place: place.partition,
        )

    @property
    def keys(self) -> list[int]:
        """Keys of the requests so far."""
        return [request.API_KEY for request in self.sent]

    async def bootstrap(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Likewise."""

    async def coordinator_lookup(self, _kind: Any, _key: str) -> int:
        """One node is all."""
        return 0

    async def _wait_on_metadata(self, _topic: str) -> set[int]:
        return {0, 1}

    async def send(self, _node: int, request: Any, *, group: Any) -> Any:
        """Answer in the version that was asked."""
        assert group is not None
        struct = request.prepare(self.versions)
        self.sent.append(struct)
        code = self.codes[struct.API_KEY].pop(0) if self.codes[struct.API_KEY] else 0
        return self._answer(struct, code)

    def _answer(self, struct: Any, code: int) -> Any:
        answer = struct.RESPONSE_TYPE
        fields: tuple[Any, ...] = (0, code)
        match struct.API_KEY:
            case 22:
                self.epoch += 1
                fields = 0, code, 7, self.epoch
            case 18:
                fields = code, [], 0, self.features
            case 9:
                fields = 0, [("docs", [(0, 300, -1, None, code, {})], {})], 0, {}
            case 24:
                fields = 0, [(topic, [(part, code) for part in parts]) for topic, parts in struct.topics]
            case 0:
                fields = [(t, [(p, code, 0, 0, 0) for p, _ in parts]) for t, parts in struct.topics], 0
            case 28:
                fields = 0, [("docs", [(0, code, {})], {})], {}
            case 26 if struct.API_VERSION == 5:
                self.epoch += not code
                fields = 0, code, 7, self.epoch, {}
        return answer(*fields)


@pytest.fixture
def client(monkeypatch):
    """The client that all producers connect with."""
    client = ScriptedClient()
    monkeypatch.setattr(transactional_producer, "AIOKafkaClient", lambda **_: client)
    monkeypatch.setattr(transactional_producer, "_CONCURRENT_PAUSE", 0)
    transactional_producer._warn_of_old_transactions.cache_clear()
    return client


@pytest.fixture
def producer():
    """The producer of partition 0 of docs."""
    return TransactionalProducer(Settings(group="g"), TopicPartition("docs", 0), Membership(5, "me", None))


def _messages(*keys: bytes | None, topic: str = "out", size: int = 10) -> list[Outgoing]:
    return [Outgoing(topic, key, b"x" * size, (), Record("docs", 0, n)) for n, key in enumerate(keys)]


def _sequences(client: ScriptedClient) -> list[tuple[int, int]]:
    """Epoch and first sequence of each batch that was produced (KIP-98: bytes 51 to 57 of a batch)."""
    batches = [
        data
        for each in client.sent
        if each.API_KEY == PRODUCE
        for _, parts in each.topics
        for _, data in parts
    ]
    return [(int.from_bytes(data[51:53]), int.from_bytes(data[53:57])) for data in batches]


async def test_producer_transaction_is_in_order(client, producer):
    """The group is asked, the old owner fenced, and only then the offset read; a commit ends with EndTxn."""
    assert await producer.begin() == 300
    await producer.commit(_messages(b"a", b"b"), 302)
    assert client.keys[:6] == [*BEGIN, ADD, GROUP]
    assert set(client.keys[6:-1]) == {PRODUCE, OFFSET}
    assert client.keys[-1] == END
    initialised = client.sent[2]
    assert initialised.transactional_id == "g/docs/0"
    offset = next(each for each in client.sent if each.API_KEY == OFFSET)
    assert (offset.generation_id, offset.member_id) == (5, "me")


async def test_producer_takes_the_epoch_of_each_end(client, producer):
    """Each transaction bears the epoch that the one before ended with, and numbers its records from 0."""
    await producer.begin()
    for offset in (301, 302):
        await producer.commit(_messages(b"a", b"a"), offset)
    assert _sequences(client) == [(1, 0), (2, 0)]


async def test_producer_old_broker_is_warned_of_once(client, producer):
    """Without epochs for each transaction they are ended the old way, numbered on, with one warning."""
    client.features = {}
    with capture_logs() as logs:
        await producer.begin()
        for offset in (301, 302):
            await producer.commit(_messages(b"a", b"a"), offset)
        await producer.begin()
    assert [line["event"] for line in logs] == ["broker without an epoch for each transaction"]
    assert _sequences(client) == [(1, 0), (1, 2)]
    assert [each.API_VERSION for each in client.sent if each.API_KEY == END] == [0, 0]


@pytest.mark.parametrize("code", [22, 25, 82])
async def test_producer_that_lost_its_membership_fences_nobody(client, producer, code):
    """A worker that the group has dropped does not initialise, which would fence the present owner."""
    client.codes[HEARTBEAT] = [code]
    with pytest.raises(MembershipEnded):
        await producer.begin()
    assert client.keys == [HEARTBEAT]


async def test_producer_ends_its_work_during_a_rebalance(client, producer):
    """A group that prepares a new generation still takes what this one has done."""
    client.codes[HEARTBEAT] = [27]
    assert await producer.begin() == 300


@pytest.mark.parametrize("code", [22, 25, 82])
async def test_producer_offset_of_an_old_generation_is_no_doubt(client, producer, code):
    """A group that refuses the member's offset has given the partition away: nothing is committed."""
    await producer.begin()
    client.codes[OFFSET] = [code]
    with pytest.raises(MembershipEnded):
        await producer.commit(_messages(b"a"), 301)
    assert END not in client.keys


@pytest.mark.parametrize("step", COMMIT)
@pytest.mark.parametrize("code", [7, 47, 48, 90])
async def test_producer_refused_step_is_a_doubt(client, producer, step, code):
    """Whatever step the broker refuses (timed out, fenced, wrong state), nothing is repeated blindly."""
    await producer.begin()
    client.codes[step] = [code]
    with pytest.raises(TransactionInDoubt, match=rf"\({code}\)"):
        await producer.commit(_messages(b"a"), 301)
    assert client.keys.count(step) == 1


@pytest.mark.parametrize(
    ("step", "code"), [(INIT, 51), (FETCH, 88), (ADD, 51), (GROUP, 51), (PRODUCE, 19), (OFFSET, 14)]
)
async def test_producer_waits_for_the_transaction_before(client, producer, step, code):
    """While the broker completes a transaction the next one's first steps are asked again."""
    client.codes[step] = [code, code]
    await producer.begin()
    await producer.commit(_messages(b"a"), 301)
    assert client.keys.count(step) == 3


@pytest.mark.parametrize(
    ("code", "keys", "expected"),
    [
        (10, [b"a"], (MessageTooLarge, 0)),
        (18, [b"a"], (MessageTooLarge, 0)),
        (10, [b"a", b"a"], (MessageTooLarge, None)),
        (87, [None], (KeyRequired, 0)),
        (2, [None], (KeyRequired, 0)),
    ],
)
async def test_producer_names_the_message_that_is_refused(client, producer, code, keys, expected):
    """A refusal names the message, unless its batch holds others; nothing was committed."""
    await producer.begin()
    client.codes[PRODUCE] = [code]
    with pytest.raises(MessageRefused) as refused:
        await producer.commit(_messages(*keys), 301)
    assert (type(refused.value.refusal), refused.value.index) == expected
    assert END not in client.keys


async def test_producer_leaves_no_request_behind_a_doubt(client, producer):
    """A step that is being tried when another is in doubt is tried no more: it could go out too late."""
    await producer.begin()
    client.codes[OFFSET] = [7]
    client.codes[PRODUCE] = [19] * 1000
    with pytest.raises(TransactionInDoubt):
        await producer.commit(_messages(b"a"), 301)
    sent = len(client.sent)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(client.sent) == sent


async def test_producer_refused_time_names_the_clock(client, producer):
    """A topic that takes no messages of this time is a doubt whose words name the clock."""
    await producer.begin()
    client.codes[PRODUCE] = [32]
    with pytest.raises(TransactionInDoubt, match="set this machine's clock right"):
        await producer.commit(_messages(b"a"), 301)


async def test_producer_large_messages_travel_alone(client, producer):
    """Messages beyond the size of a batch follow each other in batches of one, numbered on."""
    await producer.begin()
    await producer.commit(_messages(b"a", b"a", b"a", size=50_000), 303)
    assert _sequences(client) == [(1, 0), (1, 1), (1, 2)]


async def test_producer_broker_before_generations_is_named(client, producer):
    """A broker that is too old is an error that names the setting and the version."""
    client.versions[FETCH] = (0, 6)
    with pytest.raises(DeliveryError, match=r"PADELLM_DELIVERY=exactly_once needs Kafka 2\.5 or later"):
        await producer.begin()


async def test_producer_waits_for_a_broker_that_has_just_come_back(client, producer):
    """A cluster whose metadata name no broker yet is tried again, as one that does not answer."""
    client.brokers = set()
    with pytest.raises(KafkaConnectionError, match="no broker has registered yet"):
        await producer.begin()
    client.brokers = {0}
    assert await producer.begin() == 300

"""Static members and added partitions: requests and metadata that the group gets to see."""

from types import SimpleNamespace

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest

from stream.worker.group_member import CountingAssignor, GroupMember, InstanceFenced, StaticHeartbeat

VERSIONS = {12: (0, 4)}  # of Kafka 4.3


def _cluster(partitions: int) -> SimpleNamespace:
    return SimpleNamespace(partitions_for_topic=lambda _topic: set(range(partitions)))


def _handed_out(assignor: CountingAssignor, partitions: int, member: str = "me") -> None:
    """Let an assignor get its share as the group's leader makes and sends it."""
    metadata = ConsumerProtocol.METADATA.decode(assignor.metadata(["docs"]).encode())
    shares = CountingAssignor().assign(_cluster(partitions), {member: metadata, "other": metadata})
    assignor.on_assignment(ConsumerProtocol.ASSIGNMENT.decode(shares[member].encode()))


def test_heartbeat_bears_the_instance_id():
    """Version 3 ends with the instance id, after Kafka's protocol guide."""
    request = StaticHeartbeat("g", 5, "me", "i1").prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION) == (12, 3)
    assert request.encode() == bytes.fromhex("000167 00000005 00026d65 00026931")


def _member(instance: str | None, error_code: int, monkeypatch: pytest.MonkeyPatch) -> GroupMember:
    """A member whose requests the group answers with a code; the sent ones are in ``sent``."""
    member = GroupMember.__new__(GroupMember)
    member.group_id, member.generation, member.member_id = "g", 5, "me"
    member._group_instance_id, member.sent = instance, []

    async def answer(_self, request):
        member.sent.append(request)
        return SimpleNamespace(error_code=error_code)

    monkeypatch.setattr(GroupCoordinator, "_send_req", answer)
    return member


@pytest.mark.parametrize(("instance", "kind"), [("i1", StaticHeartbeat), (None, HeartbeatRequest)])
async def test_member_says_its_instance_id_if_it_has_one(instance, kind, monkeypatch):
    """Static members send their id with each sign of life, and others send what aiokafka sends."""
    member = _member(instance, 0, monkeypatch)
    await member._send_req(HeartbeatRequest("g", 5, "me"))
    assert type(member.sent[0]) is kind
    assert not member.fenced


async def test_member_is_fenced_by_any_answer(monkeypatch):
    """Whatever request the group answers so, the member knows that another has its id."""
    member = _member("i1", 82, monkeypatch)
    with pytest.raises(InstanceFenced, match="i1"):
        await member._send_req(LeaveGroupRequest("g", "me"))
    assert member.fenced


def test_assignor_hands_out_as_round_robin():
    """The shares are those of aiokafka's round robin, so that old and new workers can be in one group."""
    members = {name: CountingAssignor().metadata(["docs"]) for name in ("a", "b", "c")}
    ours, theirs = (
        assignor.assign(_cluster(7), members)
        for assignor in (CountingAssignor(), RoundRobinPartitionAssignor)
    )
    assert {name: share.partitions() for name, share in ours.items()} == {
        name: share.partitions() for name, share in theirs.items()
    }
    assert CountingAssignor.name == RoundRobinPartitionAssignor.name


def test_assignor_asks_once_there_are_more_partitions():
    """A member whose topic has grown asks, with other metadata than before, until it has a new share."""
    assignor = CountingAssignor()
    _handed_out(assignor, 4)
    before = assignor.metadata(["docs"]).encode()
    assert not assignor.ask_for_more(4)
    assert assignor.metadata(["docs"]).encode() == before
    assert assignor.ask_for_more(5)
    assert assignor.metadata(["docs"]).encode() != before
    _handed_out(assignor, 5)
    assert not assignor.ask_for_more(5)


def test_assignor_asks_nothing_of_a_leader_that_does_not_count():
    """Under a leader of an older version, which says no number, no member asks again and again."""
    assignor = CountingAssignor()
    shares = RoundRobinPartitionAssignor.assign(_cluster(4), {"me": assignor.metadata(["docs"])})
    assignor.on_assignment(ConsumerProtocol.ASSIGNMENT.decode(shares["me"].encode()))
    assert not assignor.ask_for_more(5)

"""Membership of the consumer group: static members that can be fenced, and partitions that are added.

aiokafka 0.14 takes a ``group_instance_id`` and sends heartbeats without it. So a worker whose id another one
has taken would learn nothing of that: it would join again, and the two would push each other out for ever.
And only the member that aiokafka takes for the leader watches for new partitions; a leader that is restarted
as a static member is not told that it is the leader (KIP-814), and then nobody watches.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatResponse_v1
from aiokafka.protocol.types import Int32, Schema, String

_FENCED_INSTANCE_ID = 82  # aiokafka does not know this code
_COUNT_BYTES = 4


class InstanceFenced(KafkaError):  # type: ignore[misc]  # noqa: N818 - names what it is
    """Another worker has joined the group with this one's instance id."""


class HeartbeatResponseV3(HeartbeatResponse_v1):  # type: ignore[misc]
    """An error code."""

    API_VERSION = 3


class HeartbeatRequestV3(RequestStruct):  # type: ignore[misc]
    """Sign of life of a static member; https://kafka.apache.org/43/protocol.html#The_Messages_Heartbeat."""

    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = HeartbeatResponseV3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class StaticHeartbeat(Request[HeartbeatRequestV3]):  # type: ignore[misc]
    """Sign of life of a static member.

    Args:
        group: Name of the group.
        generation: Its generation.
        member: Member id.
        instance: Instance id.
    """

    API_KEY = 12

    def __init__(self, group: str, generation: int, member: str, instance: str) -> None:
        self._fields = group, generation, member, instance

    def build(self, request_struct_class: type[HeartbeatRequestV3]) -> HeartbeatRequestV3:
        """Make the request."""
        return request_struct_class(*self._fields)


class CountingAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Round robin that tells each member how many partitions were handed out.

    Any member can so see that there are more by now, and ask for a new assignment. The group gives none to a
    member whose metadata are those it has, so they hold the number of times that one was asked for.
    """

    def __init__(self) -> None:
        self._handed_out = 0
        self._asked = 0

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Hand the partitions out, with their number."""
        shares = super().assign(cluster, members)
        count = sum(len(share.partitions()) for share in shares.values()).to_bytes(_COUNT_BYTES, "big")
        return {
            member: ConsumerProtocolMemberAssignment(share.version, share.assignment, count)
            for member, share in shares.items()
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Metadata of this member for the group."""
        asked = self._asked.to_bytes(_COUNT_BYTES, "big")
        return ConsumerProtocolMemberMetadata(self.version, list(topics), asked)

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Note how many partitions were handed out; a leader of an older version does not say."""
        self._handed_out = int.from_bytes(assignment.user_data or b"", "big")

    def ask_for_more(self, partitions: int) -> bool:
        """Return whether there are more partitions than were handed out; the metadata differ from then on."""
        more = 0 < self._handed_out < partitions
        self._asked += more
        return more


class GroupMember(GroupCoordinator):  # type: ignore[misc]
    """A member that says its instance id with each sign of life, and whose group outgrows no assignment.

    Attributes:
        fenced: Whether another worker has this one's instance id now.
    """

    fenced = False

    async def _send_req(self, request: Any) -> Any:
        if self._group_instance_id is not None and isinstance(request, HeartbeatRequest):
            request = StaticHeartbeat(self.group_id, self.generation, self.member_id, self._group_instance_id)
        answer = await super()._send_req(request)
        if getattr(answer, "error_code", None) == _FENCED_INSTANCE_ID:
            self.fenced = True
            raise InstanceFenced(f"another worker has joined with instance id {self._group_instance_id}")
        return answer

    async def _perform_assignment(self, response: Any) -> Any:
        # What made a member ask may be newer than what this one knows.
        await self._client.force_metadata_update()
        return await super()._perform_assignment(response)

    def _handle_metadata_update(self, cluster: Any) -> None:
        super()._handle_metadata_update(cluster)
        if self._subscription.reassignment_in_progress:
            return
        topics = self._subscription.subscription.topics
        known = sum(len(cluster.partitions_for_topic(topic) or ()) for topic in topics)
        (assignor,) = self._assignors
        if assignor.ask_for_more(known):
            self.request_rejoin()

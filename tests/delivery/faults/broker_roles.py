"""One broker of a cluster, chosen for what it does, or all of them: stopped or killed, and started again."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType

from stream.settings import Settings
from tests.delivery.fault_run import FaultRun

Role = Callable[[AIOKafkaClient, Settings], Awaitable[int]]
_SHORTEST, _LONGEST = 1.0, 6.0  # seconds that it stays away


async def data_leader(client: AIOKafkaClient, settings: Settings) -> int:
    """The leader of the first partition of the documents."""
    await client._wait_on_metadata(settings.documents_topic)
    return client.cluster.leader_for_partition(TopicPartition(settings.documents_topic, 0))


async def group_coordinator(client: AIOKafkaClient, settings: Settings) -> int:
    """The coordinator of the workers' group."""
    return await client.coordinator_lookup(CoordinationType.GROUP, settings.group)


async def transaction_coordinator(client: AIOKafkaClient, settings: Settings) -> int:
    """The coordinator of the transactions of the first partition."""
    name = f"{settings.group}/{settings.documents_topic}/0"
    return await client.coordinator_lookup(CoordinationType.TRANSACTION, name)


async def _away(run: FaultRun, role: Role, *, hard: bool) -> None:
    """Take the broker that has a role away, and bring it back."""
    await run.pause(2, 6)
    client = AIOKafkaClient(bootstrap_servers=run.broker.bootstrap)
    await client.bootstrap()
    try:
        number = await role(client, run.bench.settings)
    finally:
        await client.close()
    node, name = run.broker.nodes[number], f"broker {number}, {role.__name__.replace('_', ' ')}"
    run.note("kill -9" if hard else "SIGTERM", to=name)
    await asyncio.to_thread(node.kill if hard else node.stop)
    await run.pause(_SHORTEST, _LONGEST)
    await asyncio.to_thread(node.start)
    run.note("start", to=name)


async def _all_killed(run: FaultRun) -> None:
    """Kill all brokers at once, and start them again."""
    await run.pause(2, 6)
    run.note("kill -9", to="all brokers")
    await asyncio.to_thread(run.broker.kill)
    await run.pause(_SHORTEST, _LONGEST)
    await asyncio.to_thread(run.broker.start)
    run.note("start", to="all brokers")


async def _all_stopped(run: FaultRun) -> None:
    """Stop and start the brokers one after the other, as for a new version."""
    await run.pause(2, 6)
    for number, node in run.broker.nodes.items():
        run.note("SIGTERM", to=f"broker {number}")
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        run.note("start", to=f"broker {number}")


_ROLES = (data_leader, group_coordinator, transaction_coordinator)
FAULTS = {
    **{f"{role.__name__}_stop": partial(_away, role=role, hard=False) for role in _ROLES},
    **{f"{role.__name__}_kill": partial(_away, role=role, hard=True) for role in _ROLES},
    "all_brokers_stop": _all_stopped,
    "all_brokers_kill": _all_killed,
}

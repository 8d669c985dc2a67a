"""A stranger that takes the workers' transactional ids in the midst of their work."""

from aiokafka import AIOKafkaProducer

from tests.delivery.fault_run import FaultRun

_PARTITIONS = 4


async def inject(run: FaultRun) -> None:
    """Initialise a producer under an id eight times; half of them write, and abort or leave it open."""
    settings = run.bench.settings
    for number in range(8):
        await run.pause(0.2, 1.5)
        partition = run.random.randrange(_PARTITIONS)
        name = f"{settings.group}/{settings.documents_topic}/{partition}"
        run.note(f"take {name}")
        async with run.bench.producer(transactional_id=name) as stranger:
            if number % 2:
                await _write(stranger, settings.entities_topic)


async def _write(stranger: AIOKafkaProducer, topic: str) -> None:
    """Write what nobody may read."""
    await stranger.begin_transaction()
    await stranger.send_and_wait(topic, b"{}")
    await stranger.abort_transaction()

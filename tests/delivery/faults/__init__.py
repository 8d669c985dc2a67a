"""Faults to run workers under: one file each, with a coroutine ``inject``."""

from collections.abc import Awaitable, Callable
from types import ModuleType

from tests.delivery.fault_run import FaultRun
from tests.delivery.faults import (
    baseline,
    break_connections,
    broker_away,
    broker_bounce,
    broker_roles,
    clock_step,
    delay_transactions,
    freeze,
    freeze_alone,
    freeze_isolated,
    freeze_triton,
    hijack,
    isolate,
    isolate_replies,
    isolate_requests,
    kill,
    kill_triton,
    mixed,
    model_errors,
    rebalance_storm,
    slow_link,
    terminate,
    unload_model,
)

Inject = Callable[[FaultRun], Awaitable[None]]


def _named(*modules: ModuleType) -> dict[str, Inject]:
    return {module.__name__.rpartition(".")[2]: module.inject for module in modules}


# Faults of the model server, which runs for these alone.
TRITON_FAULTS = _named(kill_triton, freeze_triton, unload_model)
FAULTS = (
    _named(
        baseline,
        kill,
        terminate,
        freeze,
        freeze_alone,
        rebalance_storm,
        broker_bounce,
        broker_away,
        mixed,
        model_errors,
        isolate,
        isolate_requests,
        isolate_replies,
        freeze_isolated,
        break_connections,
        slow_link,
        delay_transactions,
        hijack,
        clock_step,
    )
    | TRITON_FAULTS
    | broker_roles.FAULTS
)

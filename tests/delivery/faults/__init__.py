"""Faults to run workers under: one file each, with a coroutine ``inject``."""

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
    hijack,
    isolate,
    isolate_replies,
    isolate_requests,
    kill,
    mixed,
    model_errors,
    rebalance_storm,
    slow_link,
    terminate,
)

FAULTS = {
    module.__name__.rpartition(".")[2]: module.inject
    for module in (
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
} | broker_roles.FAULTS

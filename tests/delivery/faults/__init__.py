"""Faults to run workers under: one file each, with a coroutine ``inject``."""

from tests.delivery.faults import (
    baseline,
    broker_away,
    broker_bounce,
    broker_roles,
    freeze,
    freeze_alone,
    kill,
    mixed,
    model_errors,
    rebalance_storm,
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
    )
} | broker_roles.FAULTS

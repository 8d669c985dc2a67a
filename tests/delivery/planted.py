"""Planted bugs, each with the fault that brings it to light and the anomaly that names it."""

from typing import NamedTuple

from stream.settings import Delivery


class Planted(NamedTuple):
    """A bug of ``recording_worker.BUGS`` in a run that must find it."""

    bug: str
    fault: str
    seed: int
    anomaly: str
    delivery: Delivery = Delivery.AT_LEAST_ONCE


_ONCE = Delivery.EXACTLY_ONCE
PLANTED = (
    Planted("commit_automatically", "baseline", 1, "commits_past_in_flight"),
    Planted("commit_as_faust_does", "kill", 1, "commits_past_in_flight"),
    Planted("commit_automatically", "kill", 1, "lost_documents"),
    Planted("commit_before_publishing", "kill", 1, "lost_documents"),
    Planted("fence_nobody", "freeze", 1, "duplicates", _ONCE),
    Planted("go_on_without_an_answer", "delay_transactions", 1, "duplicates", _ONCE),
    Planted("commit_after_the_membership", "freeze_alone", 1, "stray_commits"),
    Planted("drop_dead_letters", "baseline", 1, "lost_documents"),
    Planted("count_twice", "baseline", 1, "false_reports"),
    Planted("score_by_chance", "kill", 1, "divergent_repeats"),
)

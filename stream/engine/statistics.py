"""What a decoder counts."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the decoder was loaded, and the state of its pool.

    Attributes:
        passes: Forward passes run, over all threads.
        tokens_read: Tokens that went through the model.
        tokens_reused: Tokens of prompts that needed no reading, because another prompt or pass had read them.
        tokens_produced: Tokens in completions.
        slots_used: Slots that hold a token, in use or kept for reuse.
        slots_bound: Most slots there can be.
        in_flight: Prompts queued or being decoded.
        tokens_drafted: Drafted tokens verified, by drafter.
        tokens_accepted: Those of them that were right, by drafter.
        seconds: Time spent, over all threads, by part of a pass: ``schedule``, ``feed``, ``run``, ``accept``.
    """

    passes: int
    tokens_read: int
    tokens_reused: int
    tokens_produced: int
    slots_used: int
    slots_bound: int
    in_flight: int
    tokens_drafted: Mapping[str, int]
    tokens_accepted: Mapping[str, int]
    seconds: Mapping[str, float]

"""De-duplication of competing entities, by policy; every dropped one is reported with its reason."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.contract.messages import Entity, Policy, Removed
from stream.contract.reasons import RemovalReason

# Kept entities, and the dropped ones with the reason of each.
_Split = tuple[list[Entity], list[tuple[Entity, str]]]


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """Attributes: ``entities`` in the order of the text (start, then end), ``removed`` with reasons."""

    entities: list[Entity]
    removed: list[Removed]


def deduplicate(entities: Sequence[Entity], policy: Policy, *, threshold: float = 0.0) -> Deduplicated:
    """Apply a score threshold, drop exact repeats, then apply the policy to the rest.

    Args:
        entities: Candidates of one document. Where scores are equal the earlier in this order wins.
        policy: The rule of competition; see ``Policy``.
        threshold: Entities scored below it are removed first, so they displace nothing.
    """
    confident = [entity for entity in entities if entity.score >= threshold]
    weak = [(entity, RemovalReason.BELOW_THRESHOLD) for entity in entities if entity.score < threshold]
    single, repeats = _drop_repeats(confident)
    kept, lost = _POLICIES[policy](single)
    return Deduplicated(
        sorted(kept, key=lambda entity: (entity.start, entity.end)),
        [removed(entity, reason) for entity, reason in (*weak, *repeats, *lost)],
    )


def removed(entity: Entity, reason: str) -> Removed:
    """The report of an entity that is not kept."""
    return Removed(
        text=entity.text,
        label=entity.label,
        score=entity.score,
        reason=reason,
        start=entity.start,
        end=entity.end,
    )


def _drop_repeats(entities: Sequence[Entity]) -> _Split:
    """Of entities with one span and label, the one with the best score stays."""
    best: dict[tuple[int, int, str], Entity] = {}
    dropped: list[tuple[Entity, str]] = []
    for entity in entities:
        key = (entity.start, entity.end, entity.label)
        known = best.setdefault(key, entity)
        if known is entity:
            continue
        if entity.score > known.score:
            best[key] = entity
            dropped.append((known, RemovalReason.DUPLICATE))
        else:
            dropped.append((entity, RemovalReason.DUPLICATE))
    return list(best.values()), dropped


def _paper(entities: Sequence[Entity]) -> _Split:
    """A text found under several labels keeps the label with the highest score (PaDeLLM-NER, section 3.3)."""
    best: dict[str, Entity] = {}
    for entity in entities:
        known = best.setdefault(entity.text, entity)
        if entity.score > known.score:
            best[entity.text] = entity
    kept = [entity for entity in entities if best[entity.text].label == entity.label]
    return kept, [
        (entity, RemovalReason.OTHER_LABEL) for entity in entities if best[entity.text].label != entity.label
    ]


def _flat(entities: Sequence[Entity]) -> _Split:
    """No two overlap: the selection with the most score-weighted characters.

    Found by weighted interval scheduling. Characters weigh in so that "John Doe" at 0.8 beats "John" at 0.9,
    and also "John" and "Doe" together.
    """
    ordered = sorted(entities, key=lambda entity: entity.end)
    ends = [entity.end for entity in ordered]
    # best[i]: weight of the best selection among the first i, then its characters to settle ties.
    best: list[tuple[float, int]] = [(0.0, 0)]
    before: list[int] = []
    for index, entity in enumerate(ordered):
        compatible = bisect_right(ends, entity.start, 0, index)
        length = entity.end - entity.start
        weight, characters = best[compatible]
        best.append(max(best[index], (weight + entity.score * length, characters + length)))
        before.append(compatible)
    chosen: list[Entity] = []
    index = len(ordered)
    while index:
        if best[index] == best[index - 1]:
            index -= 1
        else:
            chosen.append(ordered[index - 1])
            index = before[index - 1]
    return _split(entities, chosen, _other_label_or_overlap(chosen))


def _nested(entities: Sequence[Entity]) -> _Split:
    """Entities may contain each other, not cross; a span has one label; the better score goes first."""
    chosen: list[Entity] = []
    spans: list[tuple[int, int]] = []
    longest = 0
    for entity in sorted(entities, key=lambda entity: (-entity.score, entity.start - entity.end)):
        span = (entity.start, entity.end)
        # Only spans that begin less than the longest span's length before this one can reach into it.
        near = spans[bisect_left(spans, (span[0] - longest, 0)) : bisect_left(spans, (span[1], 0))]
        if any(other == span or _cross(other, span) for other in near):
            continue
        chosen.append(entity)
        insort(spans, span)
        longest = max(longest, span[1] - span[0])
    return _split(entities, chosen, _other_label_or_overlap(chosen))


def _multi(entities: Sequence[Entity]) -> _Split:
    """Everything stays."""
    return list(entities), []


def _cross(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[0] < one[1] < other[1] or other[0] < one[0] < other[1] < one[1]


def _split(entities: Sequence[Entity], chosen: Sequence[Entity], reason: Callable[[Entity], str]) -> _Split:
    kept = {(entity.start, entity.end, entity.label) for entity in chosen}
    dropped = [entity for entity in entities if (entity.start, entity.end, entity.label) not in kept]
    return list(chosen), [(entity, reason(entity)) for entity in dropped]


def _other_label_or_overlap(chosen: Sequence[Entity]) -> Callable[[Entity], str]:
    spans = {(entity.start, entity.end) for entity in chosen}
    return lambda entity: (
        RemovalReason.OTHER_LABEL if (entity.start, entity.end) in spans else RemovalReason.OVERLAP
    )


_POLICIES: dict[Policy, Callable[[Sequence[Entity]], _Split]] = {
    Policy.PAPER: _paper,
    Policy.FLAT: _flat,
    Policy.NESTED: _nested,
    Policy.MULTI: _multi,
}

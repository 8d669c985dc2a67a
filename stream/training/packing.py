"""Trees packed into rows: a shared part is read once, and a tree mask keeps branches apart.

Every token attends to its ancestors and to earlier tokens of its own segment, and its position is its depth.
So each branch computes exactly the same as a sequence of its own. Arrays are numpy's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream.training.reformulation import Tree

IGNORED = -100
LOSSES = {
    "answers": "answers",
    "language_model": "next_tokens",
    "tagging": "bio_tags",
    "mention_index": "mention_indices",
}
"""Name of each loss to that of the field of ``PackedBatch`` that holds its targets."""

_TARGETS = tuple(LOSSES.values())
_ROWS = ("ids", "positions", "mask", "inventories", *_TARGETS)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Packed trees, ``rows`` x ``width``.

    Attributes:
        ids: Token ids, int64.
        positions: Depth in its tree, int64.
        mask: ``mask[r, i, j]``: token i of row r may attend to token j.
        answers: The id that the token must predict, ``IGNORED`` where it has no answer to give.
        next_tokens: The same for the text's own next token (language-model loss).
        bio_tags: BIO tag of the token's word, ``IGNORED`` outside of texts.
        mention_indices: Number, within its label, of the mention that the token belongs to, ``IGNORED``
            outside of texts.
        inventories: For each token the row of ``known`` for its text.
        known: Numbers of the phrases that a text is annotated with, one tuple for each tree.
        documents: Number of trees.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    answers: NDArray[np.int64]
    next_tokens: NDArray[np.int64]
    bio_tags: NDArray[np.int64]
    mention_indices: NDArray[np.int64]
    inventories: NDArray[np.int64]
    known: tuple[tuple[int, ...], ...]
    documents: int


@dataclass(slots=True)
class _Flat:
    """One tree as parallel lists.

    Attributes:
        segments: Start and end of each segment below the root, and the end of the last one under it.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, ids: Sequence[int], answers: Sequence[int], depth: int) -> tuple[int, int]:
        start = len(self.ids)
        self.ids += ids
        self.answers += answers
        self.positions += range(depth, depth + len(ids))
        return start, len(self.ids)


def pack(trees: Sequence[Tree], width: int) -> PackedBatch:
    """Pack trees into rows, with the width up to ``width`` that wastes the least.

    Args:
        trees: At least one.
        width: Most tokens of a row, unless one tree alone is longer.
    """
    rows, width = min(
        (_fit([len(t) for t in trees], size) for size in _widths(trees, width)),
        key=lambda fit: len(fit[0]) * fit[1],
    )
    batch = _empty(len(rows), width, tuple(t.inventory for t in trees))
    for row, numbers in enumerate(rows):
        start = 0
        for number in numbers:
            _place(batch, trees[number], number, row, start)
            start += len(trees[number])
    return batch


def split(batch: PackedBatch, parts: int) -> list[PackedBatch]:
    """Split a batch into micro-batches of about equal size; one that no row is left for has no targets.

    Args:
        batch: With any number of rows.
        parts: Number of batches to make, each of at least one row.
    """
    shares = []
    for part in range(parts):
        rows = slice(part, None, parts) if part < len(batch.ids) else slice(0, 1)
        share = replace(batch, **{name: getattr(batch, name)[rows] for name in _ROWS})
        if part >= len(batch.ids):
            share = replace(share, **{name: np.full_like(getattr(share, name), IGNORED) for name in _TARGETS})
        shares.append(share)
    return shares


def count_targets(batch: PackedBatch) -> dict[str, int]:
    """Number of tokens of a batch that have a target, for each loss."""
    return {loss: int((getattr(batch, name) != IGNORED).sum()) for loss, name in LOSSES.items()}


def _widths(trees: Sequence[Tree], most: int) -> range:
    longest = -(-max(map(len, trees)) // 8) * 8  # attention kernels want widths in steps of 8
    return range(longest, max(longest, most) + 1, 8)


def _fit(lengths: Sequence[int], width: int) -> tuple[list[list[int]], int]:
    """First fit by falling length: the numbers of the trees in each row, and the longest row."""
    rows: list[list[int]] = []
    used: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        row = next((r for r, size in enumerate(used) if size + lengths[number] <= width), len(rows))
        if row == len(rows):
            rows.append([])
            used.append(0)
        rows[row].append(number)
        used[row] += lengths[number]
    return rows, max(used)


def _empty(rows: int, width: int, known: tuple[tuple[int, ...], ...]) -> PackedBatch:
    def filled(value: int) -> NDArray[np.int64]:
        return np.full((rows, width), value, dtype=np.int64)

    # A padding token attends to itself: a row of the mask without any True would give NaN.
    mask = np.broadcast_to(np.eye(width, dtype=np.bool_), (rows, width, width)).copy()
    return PackedBatch(
        filled(0),
        filled(0),
        mask,
        filled(IGNORED),
        filled(IGNORED),
        filled(IGNORED),
        filled(IGNORED),
        filled(0),
        known,
        len(known),
    )


def _place(batch: PackedBatch, tree: Tree, number: int, row: int, start: int) -> None:
    flat = _flatten(tree)
    end, root = start + len(flat.ids), len(tree.root)
    batch.ids[row, start:end] = flat.ids
    batch.positions[row, start:end] = flat.positions
    batch.answers[row, start:end] = flat.answers
    batch.next_tokens[row, start : start + root - 1] = tree.root[1:]
    if tree.inventory:
        batch.bio_tags[row, start : start + root] = tree.bio_tags
        batch.mention_indices[row, start : start + root] = tree.mention_indices
    batch.inventories[row, start:end] = number
    mask = batch.mask[row, start:end, start:end]
    mask[:, :root] = True
    mask[:root, :root] = np.tri(root, dtype=np.bool_)
    for branch_start, branch_end, family_end in flat.segments:
        size = branch_end - branch_start
        mask[branch_end:family_end, branch_start:branch_end] = True
        mask[branch_start:branch_end, branch_start:branch_end] = np.tri(size, dtype=np.bool_)


def _flatten(tree: Tree) -> _Flat:
    flat = _Flat()
    flat.add(tree.root, [IGNORED] * len(tree.root), 0)
    for branch in tree.branches:
        # The count's last token is read only where mentions follow it.
        ids = branch.prompt + (branch.count if branch.mentions else branch.count[:-1])
        answers = [IGNORED] * (len(branch.prompt) - 1) + list(branch.count)
        answers += [IGNORED] * (len(ids) - len(answers))
        start, end = flat.add(ids, answers, len(tree.root))
        place = len(flat.segments)
        for mention in branch.mentions:
            answer = [IGNORED] * (branch.markers - 1) + [*mention[branch.markers :], tree.end_id]
            span = flat.add(mention, answer, len(tree.root) + end - start)
            flat.segments.append((*span, span[1]))
        flat.segments.insert(place, (start, end, len(flat.ids)))
    return flat

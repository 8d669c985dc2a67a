"""The tokens of each pass, with a scheduler driven by hand."""

from concurrent.futures import Future

import numpy as np
import pytest

from stream.engine.batch import Batch
from stream.engine.drafts.draft import DraftBuilder
from stream.engine.forward import PassOutput
from stream.engine.kv_cache import KvCache
from stream.engine.scheduler import Scheduler
from stream.engine.sequence import Group, Sequence
from stream.generation import Prompt
from tests.engine.test_prefix_tree import SPEC, check_tree

TEXT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3)
OTHER = (9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7)


def make(scheduler: Scheduler, *ids: int, new: int = 1) -> Sequence:
    """Queue a prompt."""
    sequence = Sequence(Prompt(ids, new, 0), Future())
    scheduler.add(sequence)
    return sequence


def accept(scheduler: Scheduler, batch: Batch, token: int = 1) -> list[Sequence]:
    """End a pass that chose the same token for all sequences."""
    rows = len(batch.outputs) + batch.drafted
    new = [np.zeros((1, batch.tokens, SPEC.kv_width), np.float32)] * 2
    output = PassOutput(np.zeros((rows, SPEC.vocabulary), np.float32), [token] * rows, new)
    return scheduler.accept(batch, output)


def tokens(batch: Batch) -> int:
    """New tokens of a pass."""
    return sum(len(node.ids) for node in batch.nodes) + len(batch.recomputed)


@pytest.fixture
def cache():
    """A KV cache of forty slots."""
    return KvCache(SPEC, 40)


@pytest.fixture
def scheduler(cache):
    """A scheduler over it, with at most eight tokens a pass."""
    return Scheduler(cache, 8)


def test_scheduler_takes_all_branches_of_a_text_together(cache):
    """One pass holds the text once, and every branch."""
    scheduler = Scheduler(cache, 99)
    sequences = [make(scheduler, *TEXT, label) for label in (4, 5, 6)]
    batch = scheduler.schedule()
    assert batch.sequences == sequences
    assert tokens(batch) == len(TEXT) + 3
    assert accept(scheduler, batch) == sequences


def test_scheduler_gives_unrelated_texts_passes_of_their_own(cache):
    """Two documents run side by side, not in one pass."""
    scheduler = Scheduler(cache, 99)
    first, second = make(scheduler, *TEXT), make(scheduler, *OTHER)
    assert scheduler.schedule().sequences == [first]
    assert scheduler.schedule().sequences == [second]
    assert scheduler.schedule() is None


def test_scheduler_adds_a_late_branch_to_the_next_pass_of_its_text(cache):
    """A prompt that arrives during a pass does not prefill the text again."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT, 4, new=2)
    running = scheduler.schedule()
    late = make(scheduler, *TEXT, 5)
    assert scheduler.schedule() is None
    accept(scheduler, running)
    batch = scheduler.schedule()
    assert late in batch.sequences
    assert tokens(batch) == 2


def test_scheduler_prefills_no_prefix_that_another_pass_is_computing(cache):
    """A document that shares its first tokens with one in flight waits for them."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    running = scheduler.schedule()
    make(scheduler, *TEXT[:2], *OTHER, *OTHER)
    assert scheduler.schedule() is None
    accept(scheduler, running)
    assert tokens(scheduler.schedule()) == 2 * len(OTHER)


def test_scheduler_takes_no_more_than_its_budget(scheduler):
    """A long prompt is split; only its last chunk needs logits."""
    make(scheduler, *TEXT)
    first = scheduler.schedule()
    assert (tokens(first), len(first.outputs)) == (8, 0)
    accept(scheduler, first)
    second = scheduler.schedule()
    assert (tokens(second), len(second.outputs)) == (4, 1)


def test_scheduler_preempts_the_youngest_when_the_kv_cache_is_full(cache):
    """Long prompts that fill the KV cache together cannot deadlock: the oldest progresses, and all finish."""
    scheduler = Scheduler(cache, 8)
    waiting = {make(scheduler, *[first] * 30) for first in (1, 2, 3)}
    finished = []
    while waiting - set(finished):
        running = []
        while scheduled := scheduler.schedule():
            running.append(scheduled)
        assert running, "nothing can run and nothing is running"
        for each in running:
            finished += accept(scheduler, each)
        check_tree(scheduler._tree, cache)
    assert [sequence.prompt.ids[0] for sequence in finished] == [1, 2, 3]


def test_scheduler_ignores_a_removed_sequence(scheduler, cache):
    """A sequence removed during a pass, once or twice, takes no token of it and leaves no group."""
    sequence = make(scheduler, *TEXT[:4], new=3)
    running = scheduler.schedule()
    for _ in range(2):
        scheduler.remove(sequence)
    assert accept(scheduler, running) == []
    assert sequence.produced == []
    assert not scheduler._groups
    check_tree(scheduler._tree, cache)


def test_scheduler_failed_pass_frees_its_slots(scheduler, cache):
    """A failed pass leaves neither slots nor sequences."""
    sequence = make(scheduler, *TEXT[:4])
    assert scheduler.fail(scheduler.schedule()) == [sequence]
    assert cache.used == 0
    assert scheduler.schedule() is None


class Chain:
    """A proposer of one chain that records its calls."""

    def __init__(self, *tokens: int) -> None:
        self.tokens, self.calls = tokens, []

    def propose(self, sequence, width, *, busy):
        """The chain, as far as it fits."""
        self.calls.append((sequence, width, busy))
        builder = DraftBuilder(width)
        builder.add_chain(self.tokens[: sequence.remaining - 1], "chain")
        return builder.build()

    def learn(self, sequence):
        """Learn nothing."""


def test_scheduler_passes_on_whether_other_work_waits(cache):
    """Drafts are long only if no other document waits for a pass."""
    proposer = Chain(1, 1)
    scheduler = Scheduler(cache, 99, proposer)
    make(scheduler, *TEXT, new=3)
    make(scheduler, *OTHER, new=3)
    scheduler.schedule()
    scheduler.schedule()
    assert [busy for *_, busy in proposer.calls] == [True, False]


def test_scheduler_drafts_with_what_prompts_leave_of_the_budget(cache):
    """Sequences share what is left; a pass never takes more than its budget."""
    proposer = Chain(*[1] * 9)
    scheduler = Scheduler(cache, len(TEXT) + 2 + 7, proposer)
    for label in (4, 5):
        make(scheduler, *TEXT, label, new=20)
    batch = scheduler.schedule()
    assert [width for _, width, _ in proposer.calls] == [3, 3]
    assert (batch.undrafted, batch.drafted) == (len(TEXT) + 2, 6)


def test_scheduler_caches_accepted_drafts_alone(cache):
    """After a pass the tree holds the prompt, the accepted tokens and the next uncached token."""
    scheduler = Scheduler(cache, 99, Chain(1, 2, 1))
    sequence = make(scheduler, *TEXT, new=9)
    accept(scheduler, scheduler.schedule(), token=1)
    assert sequence.produced == [1, 1]
    assert cache.used == len(TEXT) + 1
    check_tree(scheduler._tree, cache)


def test_scheduler_drafts_nothing_for_a_single_token(cache):
    """An answer of at most one token has no use for a draft."""
    proposer = Chain(1)
    scheduler = Scheduler(cache, 99, proposer)
    make(scheduler, *TEXT)
    assert not scheduler.schedule().drafts
    assert not proposer.calls


def test_scheduler_shares_a_small_pass_among_waiting_groups(cache):
    """Groups join in order of arrival until the pass is large enough; others have a pass of their own."""
    scheduler = Scheduler(cache, 99, small_pass=len(TEXT) + 1)
    third = (5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7)
    sequences = [make(scheduler, *ids, new=2) for ids in (TEXT, OTHER, third)]
    batch = scheduler.schedule()
    assert batch.sequences == sequences[:2]
    assert len(batch.groups) == 2
    assert scheduler.schedule().sequences == sequences[2:]
    assert scheduler.schedule() is None
    assert accept(scheduler, batch) == []
    assert scheduler.schedule().sequences == sequences[:2]


def test_scheduler_shares_no_pass_among_groups_that_are_long_together(cache):
    """Few new tokens do not matter then: each would pay for the columns of all groups."""
    scheduler = Scheduler(cache, 99, small_pass=5)
    sequences = [make(scheduler, *[first] * 11, new=3) for first in (3, 4)]
    first, second = scheduler.schedule(), scheduler.schedule()
    for scheduled in (first, second):
        accept(scheduler, scheduled)
    assert [scheduler.schedule().sequences for _ in sequences] == [[each] for each in sequences]


@pytest.mark.parametrize("passes", [[1, 1], [2, 1]])
def test_scheduler_leaves_a_group_for_every_thread(cache, passes):
    """Two documents and two threads are two passes, three documents a pass of two and one of one."""
    scheduler = Scheduler(cache, 99, small_pass=99, threads=2)
    for first in range(sum(passes)):
        make(scheduler, *[first + 3] * 12)
    assert [len(scheduler.schedule().sequences) for _ in range(2)] == passes


def test_scheduler_shared_pass_has_the_mask_and_positions_of_separate_passes(cache):
    """No token of a group attends to one of another, and positions are unchanged."""
    scheduler = Scheduler(cache, 99, small_pass=99)
    for ids in (TEXT, OTHER):
        make(scheduler, *ids)
    feed = scheduler.schedule().feed()
    attended = feed.mask == 0
    alone = np.tri(len(TEXT), dtype=bool)
    assert feed.ids[0].tolist() == [*TEXT, *OTHER]
    assert feed.positions[0].tolist() == [*range(len(TEXT)), *range(len(OTHER))]
    assert (attended == np.kron(np.eye(2, dtype=bool), alone)).all()


def test_scheduler_serves_a_cached_text_before_it_prefills_others(cache):
    """Otherwise a KV cache too small for all waiting texts would evict it meanwhile."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    make(scheduler, *OTHER)
    accept(scheduler, scheduler.schedule())
    again = make(scheduler, *TEXT, 4)
    assert scheduler.schedule().sequences == [again]


def test_scheduler_gathers_cached_texts_until_they_fill_a_shared_pass(cache):
    """A single one waits its turn; two that fill a pass go first."""
    scheduler = Scheduler(cache, 99, small_pass=6)
    for ids in (TEXT, OTHER):
        make(scheduler, *ids)
        accept(scheduler, scheduler.schedule())
    waiting = [make(scheduler, *[first] * 12) for first in (3, 4)]
    again = [make(scheduler, *TEXT, 4)]
    assert scheduler.schedule().sequences == waiting[:1]
    again.append(make(scheduler, *OTHER, 4))
    assert scheduler.schedule().sequences == again[:1]


def test_scheduler_starves_no_text(cache):
    """Repeated prompts over one text do not keep another from being prefilled."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    accept(scheduler, scheduler.schedule())
    other = make(scheduler, *OTHER)
    for label in range(10):
        make(scheduler, *TEXT, label)
        scheduled = scheduler.schedule()
        accept(scheduler, scheduled)
        if other in scheduled.sequences:
            return
    pytest.fail("the other text was not prefilled")


def test_scheduler_finds_a_group_as_fast_among_many(cache):
    """A prompt's group is found by a bounded number of comparisons, though all groups start alike."""
    compared = []

    class Watched(Group):
        """A group that counts comparisons."""

        def suits(self, ids):
            """Compare, and count."""
            compared.append(ids)
            return super().suits(ids)

    scheduler = Scheduler(KvCache(SPEC, 40), 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.engine.scheduler.Group", Watched)
        for number in range(3000):
            text = tuple(number // 3**place % 3 for place in range(8))
            make(scheduler, 1, 2, *text, *text, *text)
    assert len(scheduler._groups) == 3000
    assert len(compared) <= 2 * 3000

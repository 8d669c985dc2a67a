"""Which tokens a pass takes, driven by hand."""

from concurrent.futures import Future

import numpy as np
import pytest

from stream.engine.batch import Batch
from stream.engine.drafts.draft import DraftBuilder
from stream.engine.kv_cache import KvCache
from stream.engine.outcome import Outcome
from stream.engine.scheduler import Group, Scheduler
from stream.engine.sequence import Sequence
from stream.generation import Prompt
from tests.engine.test_prefix_tree import SPEC, check_tree

TEXT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3)
OTHER = (9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7)


def make(scheduler: Scheduler, *ids: int, new: int = 1) -> Sequence:
    """Queue a prompt."""
    sequence = Sequence(Prompt(ids, new, 0), Future())
    scheduler.add(sequence)
    return sequence


def accept(scheduler: Scheduler, scheduled: tuple[list[Group], Batch], token: int = 1) -> list[Sequence]:
    """End a pass that chose the same token for all."""
    groups, batch = scheduled
    rows = len(batch.asked) + batch.drafted
    new = [np.zeros((1, batch.tokens, SPEC.kv_width), np.float32)] * 2
    outcome = Outcome(np.zeros((rows, SPEC.vocabulary), np.float32), [token] * rows, new)
    return scheduler.accept(groups, batch, outcome)


def tokens(batch: Batch) -> int:
    """New tokens of a pass."""
    return sum(len(node.ids) for node in batch.nodes) + len(batch.repeats)


@pytest.fixture
def cache():
    """A pool of forty slots."""
    return KvCache(SPEC, 40)


@pytest.fixture
def scheduler(cache):
    """Over it, eight tokens a pass at most."""
    return Scheduler(cache, 8)


def test_scheduler_takes_all_branches_of_a_text_together(cache):
    """One pass holds the text once and every branch."""
    scheduler = Scheduler(cache, 99)
    sequences = [make(scheduler, *TEXT, label) for label in (4, 5, 6)]
    groups, batch = scheduler.schedule()
    assert batch.readers == sequences
    assert tokens(batch) == len(TEXT) + 3
    assert accept(scheduler, (groups, batch)) == sequences


def test_scheduler_gives_unrelated_texts_passes_of_their_own(cache):
    """Two documents run side by side, not in one pass."""
    scheduler = Scheduler(cache, 99)
    first, second = make(scheduler, *TEXT), make(scheduler, *OTHER)
    assert scheduler.schedule()[1].readers == [first]
    assert scheduler.schedule()[1].readers == [second]
    assert scheduler.schedule() is None


def test_scheduler_adds_a_late_branch_to_the_next_pass_of_its_text(cache):
    """A prompt that comes in mid-pass does not read the text again."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT, 4, new=2)
    running = scheduler.schedule()
    late = make(scheduler, *TEXT, 5)
    assert scheduler.schedule() is None
    accept(scheduler, running)
    _, batch = scheduler.schedule()
    assert late in batch.readers
    assert tokens(batch) == 2


def test_scheduler_reads_no_prefix_that_another_pass_is_reading(cache):
    """A document that shares its first tokens with one in mid-pass waits for them."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    running = scheduler.schedule()
    make(scheduler, *TEXT[:2], *OTHER, *OTHER)
    assert scheduler.schedule() is None
    accept(scheduler, running)
    assert tokens(scheduler.schedule()[1]) == 2 * len(OTHER)


def test_scheduler_takes_no_more_than_its_budget(scheduler):
    """A long prompt is cut; only its last piece asks for a token."""
    make(scheduler, *TEXT)
    first = scheduler.schedule()
    assert (tokens(first[1]), len(first[1].asked)) == (8, 0)
    accept(scheduler, first)
    second = scheduler.schedule()
    assert (tokens(second[1]), len(second[1].asked)) == (4, 1)


def test_scheduler_makes_the_youngest_give_way_when_the_pool_is_full(cache):
    """Long prompts that fill the pool together cannot block each other: the oldest goes on, all finish."""
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


def test_scheduler_forgets_a_removed_sequence(scheduler, cache):
    """A sequence removed in mid-pass takes nothing from its outcome and leaves no group behind."""
    sequence = make(scheduler, *TEXT[:4], new=3)
    running = scheduler.schedule()
    assert scheduler.remove(sequence)
    assert not scheduler.remove(sequence)
    assert accept(scheduler, running) == []
    assert sequence.produced == []
    assert not scheduler._groups
    check_tree(scheduler._tree, cache)


def test_scheduler_failed_pass_gives_its_slots_back(scheduler, cache):
    """A pass that broke leaves neither slots nor sequences behind."""
    sequence = make(scheduler, *TEXT[:4])
    groups, batch = scheduler.schedule()
    assert scheduler.fail(groups, batch) == [sequence]
    assert cache.used == 0
    assert scheduler.schedule() is None


class Chain:
    """A proposer of one chain, that remembers what it was asked."""

    def __init__(self, *tokens: int) -> None:
        self.tokens, self.asked = tokens, []

    def propose(self, sequence, width, *, busy):
        """The chain, as far as it fits."""
        self.asked.append((sequence, width, busy))
        builder = DraftBuilder(width)
        builder.add_chain(self.tokens[: sequence.remaining - 1], "chain")
        return builder.build()

    def learn(self, sequence, accepted, following):
        """Nothing."""

    def finish(self, sequence):
        """Nothing."""


def test_scheduler_says_when_other_work_waits(cache):
    """Drafts are asked for in full only where no other document waits for a pass."""
    proposer = Chain(1, 1)
    scheduler = Scheduler(cache, 99, proposer)
    make(scheduler, *TEXT, new=3)
    make(scheduler, *OTHER, new=3)
    scheduler.schedule()
    scheduler.schedule()
    assert [busy for *_, busy in proposer.asked] == [True, False]


def test_scheduler_drafts_with_what_prompts_leave_of_the_budget(cache):
    """Sequences share what is left; a pass never takes more than its budget."""
    proposer = Chain(*[1] * 9)
    scheduler = Scheduler(cache, len(TEXT) + 2 + 7, proposer)
    for label in (4, 5):
        make(scheduler, *TEXT, label, new=20)
    _, batch = scheduler.schedule()
    assert [width for _, width, _ in proposer.asked] == [3, 3]
    assert (batch.undrafted, batch.drafted) == (len(TEXT) + 2, 6)


def test_scheduler_keeps_accepted_drafts_and_frees_the_others(cache):
    """After a pass the tree holds the prompt, what was right and the next token to read."""
    scheduler = Scheduler(cache, 99, Chain(1, 2, 1))
    sequence = make(scheduler, *TEXT, new=9)
    accept(scheduler, scheduler.schedule(), token=1)
    assert sequence.produced == [1, 1]
    assert cache.used == len(TEXT) + 1
    check_tree(scheduler._tree, cache)


def test_scheduler_asks_for_no_drafts_where_one_token_is_wanted(cache):
    """A count of one token has nothing to draft."""
    proposer = Chain(1)
    scheduler = Scheduler(cache, 99, proposer)
    make(scheduler, *TEXT)
    assert not scheduler.schedule()[1].drafts
    assert not proposer.asked


def test_scheduler_mixes_waiting_groups_into_a_small_pass(cache):
    """Groups join in order of arrival until the pass is large enough; others have a pass of their own."""
    scheduler = Scheduler(cache, 99, mixed_tokens=len(TEXT) + 1)
    third = (5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7)
    sequences = [make(scheduler, *ids, new=2) for ids in (TEXT, OTHER, third)]
    groups, batch = scheduler.schedule()
    assert batch.readers == sequences[:2]
    assert len(groups) == 2
    assert scheduler.schedule()[1].readers == sequences[2:]
    assert scheduler.schedule() is None
    assert accept(scheduler, (groups, batch)) == []
    assert scheduler.schedule()[1].readers == sequences[:2]


def test_scheduler_mixes_no_groups_that_are_long_together(cache):
    """However few new tokens they have: each would pay for the columns of all."""
    scheduler = Scheduler(cache, 99, mixed_tokens=5)
    sequences = [make(scheduler, *[first] * 11, new=3) for first in (3, 4)]
    first, second = scheduler.schedule(), scheduler.schedule()
    for scheduled in (first, second):
        accept(scheduler, scheduled)
    assert [scheduler.schedule()[1].readers for _ in sequences] == [[each] for each in sequences]


@pytest.mark.parametrize("passes", [[1, 1], [2, 1]])
def test_scheduler_leaves_a_group_for_every_thread(cache, passes):
    """Two documents and two threads are two passes, three documents a pass of two and one of one."""
    scheduler = Scheduler(cache, 99, mixed_tokens=99, threads=2)
    for first in range(sum(passes)):
        make(scheduler, *[first + 3] * 12)
    assert [len(scheduler.schedule()[1].readers) for _ in range(2)] == passes


def test_scheduler_mixed_pass_is_fed_as_its_groups_would_be_alone(cache):
    """No token of a group sees one of another, and all stand where they stood."""
    scheduler = Scheduler(cache, 99, mixed_tokens=99)
    for ids in (TEXT, OTHER):
        make(scheduler, *ids)
    feed = scheduler.schedule()[1].feed()
    seen = feed.mask == 0
    alone = np.tri(len(TEXT), dtype=bool)
    assert feed.ids[0].tolist() == [*TEXT, *OTHER]
    assert feed.positions[0].tolist() == [*range(len(TEXT)), *range(len(OTHER))]
    assert (seen == np.kron(np.eye(2, dtype=bool), alone)).all()


def test_scheduler_asks_a_text_again_before_it_reads_others(cache):
    """Else a pool that does not hold all that waits would drop it meanwhile."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    make(scheduler, *OTHER)
    accept(scheduler, scheduler.schedule())
    again = make(scheduler, *TEXT, 4)
    assert scheduler.schedule()[1].readers == [again]


def test_scheduler_gathers_texts_asked_again_until_they_fill_a_shared_pass(cache):
    """A single one waits its turn; two that would fill a pass go first."""
    scheduler = Scheduler(cache, 99, mixed_tokens=6)
    for ids in (TEXT, OTHER):
        make(scheduler, *ids)
        accept(scheduler, scheduler.schedule())
    waiting = [make(scheduler, *[first] * 12) for first in (3, 4)]
    again = [make(scheduler, *TEXT, 4)]
    assert scheduler.schedule()[1].readers == waiting[:1]
    again.append(make(scheduler, *OTHER, 4))
    assert scheduler.schedule()[1].readers == again[:1]


def test_scheduler_lets_no_text_wait_for_ever(cache):
    """Somebody who asks the same text over and over does not keep another from being read."""
    scheduler = Scheduler(cache, 99)
    make(scheduler, *TEXT)
    accept(scheduler, scheduler.schedule())
    other = make(scheduler, *OTHER)
    for label in range(10):
        make(scheduler, *TEXT, label)
        scheduled = scheduler.schedule()
        accept(scheduler, scheduled)
        if other in scheduled[1].readers:
            return
    pytest.fail("the other text was not read")

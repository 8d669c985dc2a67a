"""The engine against the slow decoder, and its promises on sharing, slots, cancellation and refusal."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.engine.decoder import Decoder, EngineOptions
from stream.engine.kv_cache import KvCache
from stream.engine.model.session import Model, Sessions
from stream.errors import InferenceError, InferenceRejected, InferenceUnavailable
from stream.generation import Completion, Prompt
from tests.engine.checkpoints import END_ID, FAMILIES, VOCABULARY, write_checkpoint
from tests.engine.slow_decoder import SlowDecoder
from tests.engine.test_prefix_tree import check_tree, nodes_of

SECONDS = 60
TOKEN = st.integers(0, VOCABULARY - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with grouped-query attention."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", "llama")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """A folder for built graphs."""
    return tmp_path_factory.getbasetemp() / "graph-cache"


@pytest.fixture(scope="module")
def slow(folder):
    """The slow decoder, with a memory."""
    decoder, known = SlowDecoder(folder), {}

    def complete(prompt: Prompt, forced: tuple[int, ...] | None = None) -> Completion:
        if (prompt, forced) not in known:
            known[prompt, forced] = decoder.complete(prompt, forced)
        return known[prompt, forced]

    return complete


@pytest.fixture
def load(folder, graphs) -> Iterator:
    """Decoders over the tiny Llama; those without work are checked, and all are closed at the end."""
    opened = []

    def load(**options) -> Decoder:
        opened.append(Decoder.load(folder, EngineOptions(graph_cache=graphs, **options)))
        return opened[-1]

    yield load
    for decoder in opened:
        if not decoder.closed and not decoder.statistics().in_flight:
            assert_at_rest(decoder)
        decoder.close()


def assert_same(left: Completion, right: Completion) -> None:
    """Same tokens, log-probabilities within 1e-4."""
    assert left.ids == right.ids
    assert left.log_probs == pytest.approx(right.log_probs, abs=1e-4)


def assert_at_rest(decoder: Decoder) -> None:
    """Check that an idle engine is sound: nothing queued, nothing referenced, every slot available."""
    until = time.monotonic() + SECONDS
    while decoder._scheduler.running and time.monotonic() < until:
        time.sleep(0.001)  # a pass of prompts that were cancelled meanwhile
    assert decoder.statistics().in_flight == 0
    tree = decoder._scheduler._tree
    check_tree(tree, decoder._cache)
    assert not any(node.references or node.computing for node in nodes_of(tree))
    assert not decoder._scheduler._groups
    assert tree.make_available(decoder._cache.slots) == decoder._cache.slots


def draw_ids(draw: random.Random, count: int) -> tuple[int, ...]:
    """Random token ids."""
    return tuple(draw.randrange(VOCABULARY) for _ in range(count))


def document(seed: int, *, text: int = 20, branches: int = 4, new: int = 4) -> list[Prompt]:
    """Prompts of one document: a text and several branches."""
    draw = random.Random(seed)
    ids = draw_ids(draw, text)
    return [Prompt((*ids, *draw_ids(draw, draw.randint(1, 4))), new, END_ID) for _ in range(branches)]


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_equals_slow_decoder_in_every_family(family, tmp_path):
    """A document's branches, computed together, have the answers of each alone."""
    folder = write_checkpoint(tmp_path / "model", family)
    slow = SlowDecoder(folder)
    prompts = document(len(family), text=100, branches=5, new=8)
    decoder = Decoder.load(folder, EngineOptions(graph_cache=tmp_path / "cache"))
    try:
        for prompt, future in zip(prompts, decoder.submit_many(prompts), strict=True):
            assert_same(future.result(SECONDS), slow.complete(prompt))
    finally:
        decoder.close()


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.lists(TOKEN, min_size=1, max_size=18), min_size=1, max_size=3),
    branches=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.integers(0, 3), max_size=4),
            st.integers(1, 7),
            st.booleans(),
            st.none() | st.tuples(st.integers(0, 17), st.integers(0, 8)),
        ),
        min_size=1,
        max_size=10,
    ),
    slots=st.sampled_from((32, 48, 4096)),
    pass_tokens=st.sampled_from((3, 16, 512)),
    threads=st.integers(1, 3),
    drafts=st.booleans(),
    draft_tokens=st.sampled_from((1, 3, 32)),
)
def test_decoder_equals_slow_decoder_whatever_arrives_when(  # noqa: PLR0917 - hypothesis passes them by name
    folder, slow, graphs, texts, branches, slots, pass_tokens, threads, drafts, draft_tokens
):
    """Shared prefixes, repeats, chunks, a full KV cache, threads, drafts: each completion is its own.

    Forced answers are copied from the prompt, so that many drafts are right.
    """
    prompts = [Prompt((*texts[text % len(texts)], *tail), new, END_ID) for text, tail, new, *_ in branches]
    answers = [
        None if copied is None else prompt.ids[copied[0] :][: copied[1]]
        for prompt, (*_, copied) in zip(prompts, branches, strict=True)
    ]
    options = EngineOptions(
        threads=threads,
        kv_cache_tokens=slots,
        pass_tokens=pass_tokens,
        drafts=drafts,
        draft_tokens=draft_tokens,
        graph_cache=graphs,
    )
    decoder = Decoder.load(folder, options)
    try:
        futures = []
        for prompt, answer, (_, _, _, pause, _) in zip(prompts, answers, branches, strict=True):
            futures += decoder.submit_many([prompt], forced=[answer])
            if pause:
                time.sleep(0.001)
        for prompt, answer, future in zip(prompts, answers, futures, strict=True):
            assert_same(future.result(SECONDS), slow(prompt, answer))
        assert_at_rest(decoder)
    finally:
        decoder.close()


def test_decoder_prefills_a_text_and_all_its_branches_in_one_pass(load):
    """Prompts sent together cost one pass, and each shared token is computed once."""
    decoder = load()
    prompts = document(1, branches=6, new=1)
    wait(decoder.submit_many(prompts), SECONDS)
    statistics = decoder.statistics()
    branches = {prompt.ids[:length] for prompt in prompts for length in range(1, len(prompt.ids) + 1)}
    assert statistics.passes == 1
    assert statistics.tokens_computed == len(branches)
    assert statistics.tokens_produced == 6


def test_decoder_prefills_only_the_new_tokens_of_a_longer_prompt(load):
    """A mention prompt extends its count prompt, and only its own tokens are computed."""
    decoder = load()
    count = document(2, branches=1, new=1)[0]
    decoder.submit(count).result(SECONDS)
    before = decoder.statistics()
    mention = replace(count, ids=(*count.ids, 5, 6))
    completion = decoder.submit(mention).result(SECONDS)
    after = decoder.statistics()
    assert after.tokens_computed - before.tokens_computed == 2
    assert after.tokens_reused - before.tokens_reused == len(count.ids)
    assert completion.passes == 1


def test_decoder_takes_a_repeated_prompt_from_the_cache(load, slow):
    """One token of a cached prompt is computed again, and the answer is the same."""
    decoder = load()
    prompt = document(3, branches=1, new=1)[0]
    first = decoder.submit(prompt).result(SECONDS)
    before = decoder.statistics()
    assert_same(decoder.submit(prompt).result(SECONDS), first)
    assert_same(first, slow(prompt))
    after = decoder.statistics()
    assert after.tokens_computed - before.tokens_computed == 1
    assert after.slots_used == before.slots_used


def test_decoder_counts_the_passes_of_a_completion(load):
    """Without drafts a completion takes one pass per token, if its prompt takes one."""
    decoder = load(drafts=False)
    completion = decoder.submit(document(4, branches=1, new=5)[0]).result(SECONDS)
    assert completion.passes == len(completion.ids) + (len(completion.ids) < 5)


def test_decoder_verifies_a_drafted_answer_in_the_pass_of_its_prompt(load, slow):
    """An answer copied from the text takes one pass, its end included, and counts as drafted and accepted."""
    decoder = load(draft_tokens=100)
    prompt = Prompt((6, 7, 8, 9), 10, END_ID)
    (future,) = decoder.submit_many([prompt], forced=[(7, 8, 9)])
    completion = future.result(SECONDS)
    assert_same(completion, slow(prompt, (7, 8, 9)))
    assert completion.passes == 1
    statistics = decoder.statistics()
    assert sum(statistics.tokens_accepted.values()) == 3
    assert sum(statistics.tokens_drafted.values()) == statistics.tokens_computed - len(prompt.ids)


def test_decoder_caches_only_accepted_drafts_that_are_needed(load):
    """A finished answer's drafts take no slots; an unfinished sequence caches the accepted ones."""
    decoder = load(threads=1, draft_tokens=2)
    prompt = Prompt((6, 7, 8, 9), 10, END_ID)
    (future,) = decoder.submit_many([prompt], forced=[()])
    future.result(SECONDS)
    assert sum(decoder.statistics().tokens_drafted.values()) == 2
    assert decoder.statistics().slots_used == 4
    (future,) = decoder.submit_many([prompt], forced=[(6, 7, 8, 9, 5)])
    assert future.result(SECONDS).passes < 5
    assert 4 < decoder.statistics().slots_used <= 9


@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    new=st.integers(2, 8),
    drafts=st.booleans(),
)
def test_decoder_constrained_answers_are_the_most_likely_spans(folder, graphs, text, new, drafts):
    """Each token is the most likely one within a span; log-probabilities are the unconstrained ones."""
    slow = SlowDecoder(folder)
    prompt = Prompt(tuple(text), new, END_ID)
    options = EngineOptions(drafts=drafts, constrained=True, graph_cache=graphs)
    decoder = Decoder.load(folder, options)
    try:
        completion = decoder.submit(prompt).result(SECONDS)
    finally:
        decoder.close()
    ids, produced, log_probs = list(text), [], []
    while len(produced) < new:
        free = slow.log_probabilities(ids)
        spans = [text[at : at + len(produced) + 1] for at in range(len(text) - len(produced))]
        allowed = {span[-1] for span in spans if span[:-1] == produced} | ({END_ID} if produced else set())
        token = max(allowed, key=lambda token: free[token])
        if token == END_ID:
            break
        ids.append(token)
        produced.append(token)
        log_probs.append(free[token])
    assert_same(completion, Completion(tuple(produced), tuple(log_probs)))


def test_decoder_constrains_no_counts(load, slow):
    """Prompts with stop ids, and those for a single token, are not constrained."""
    decoder = load(constrained=True)
    for prompt in (Prompt((1, 2, 3), 4, END_ID, (88,)), Prompt((1, 2, 3), 1, END_ID)):
        assert_same(decoder.submit(prompt).result(SECONDS), slow(prompt))


def test_decoder_prefills_a_long_prompt_in_chunks(load, slow):
    """A prompt longer than a pass takes one pass per chunk."""
    decoder = load(pass_tokens=16)
    prompt = document(5, text=60, branches=1, new=1)[0]
    completion = decoder.submit(prompt).result(SECONDS)
    assert_same(completion, slow(prompt))
    assert completion.passes == -(-len(prompt.ids) // 16)


def test_decoder_computes_more_tokens_in_a_pass_than_a_sequence_may_have(tmp_path):
    """A group of many branches is one pass even if it exceeds the model's positions."""
    folder = write_checkpoint(tmp_path / "model", "gemma3")
    decoder = Decoder.load(folder, EngineOptions(graph_cache=tmp_path / "cache"))
    try:
        prompts = document(5, text=20, branches=80, new=1)
        wait(decoder.submit_many(prompts), SECONDS)
        assert decoder.statistics().passes == 1
        assert decoder.statistics().tokens_computed > decoder.spec.max_positions
    finally:
        decoder.close()


def test_decoder_result_does_not_depend_on_company(load):
    """A document has the same answers alone and among many."""
    prompts = document(6)
    alone = [future.result(SECONDS) for future in load().submit_many(prompts)]
    crowd = load(threads=3)
    company = crowd.submit_many([prompt for seed in range(40) for prompt in document(100 + seed)])
    among = [future.result(SECONDS) for future in crowd.submit_many(prompts)]
    wait(company, SECONDS)
    for left, right in zip(alone, among, strict=True):
        assert_same(left, right)


@pytest.mark.parametrize("threads", [1, 2])
def test_decoder_learns_from_its_answers_once_idle(model, threads):
    """The proposer learns from every answer soon after it was given, once."""
    learned: SimpleQueue[tuple[int, ...]] = SimpleQueue()

    class Learner:
        """A proposer that drafts nothing and records its answers."""

        def propose(self, sequence, width, *, busy):
            """Draft nothing."""

        def learn(self, sequence):
            """Record an answer."""
            learned.put(tuple(sequence.produced))

    decoder = Decoder(replace(model, threads=threads), proposer=Learner())
    try:
        prompts = document(4, new=5)
        answers = [prompt.ids[2:5] for prompt in prompts]
        wait(decoder.submit_many(prompts, forced=answers), SECONDS)
        assert sorted(learned.get(timeout=SECONDS) for _ in prompts) == sorted(answers)
        assert learned.empty()
    finally:
        decoder.close()


class Watched:
    """A session that calls a function before each pass."""

    def __init__(self, session, before) -> None:
        self.session, self.before = session, before

    def run(self, *arguments):
        """Run a pass."""
        self.before()
        return self.session.run(*arguments)


@pytest.fixture(scope="module")
def model(folder, graphs):
    """The tiny Llama, loaded, with two threads."""
    return Model.load(folder, threads=2, graph_cache=graphs)


def test_decoder_spreads_a_pass_over_all_threads_only_when_nothing_else_waits(model):
    """A single document gets every thread; two at once run in parallel on one thread each."""
    passes, together = [], Barrier(2)

    def narrow():
        passes.append("narrow")
        together.wait(SECONDS)

    sessions = Sessions(
        Watched(model.sessions.narrow, narrow),
        Watched(model.sessions.wide, partial(passes.append, "wide")),
    )
    decoder = Decoder(replace(model, sessions=sessions))
    try:
        wait(decoder.submit_many(document(1, new=1)), SECONDS)
        assert passes == ["wide"]
        wait(decoder.submit_many([*document(2, new=1), *document(3, new=1)]), SECONDS)
        assert passes == ["wide", "narrow", "narrow"]
    finally:
        decoder.close()


def test_decoder_end_id_is_left_out(load, slow):
    """Generation ends when the end id is chosen, which is no part of the completion."""
    prompt = document(7, branches=1, new=5)[0]
    free = slow(prompt)
    ended = load().submit(replace(prompt, end_id=free.ids[2])).result(SECONDS)
    first = free.ids.index(free.ids[2])
    assert ended.ids == free.ids[:first]
    assert len(ended.log_probs) == first


def test_decoder_stop_id_is_part_of_the_completion(load, slow):
    """Generation ends after a stop id, the last token of the completion."""
    prompt = document(7, branches=1, new=5)[0]
    free = slow(prompt)
    stopped = load().submit(replace(prompt, stop_ids=(free.ids[2],))).result(SECONDS)
    assert stopped.ids == free.ids[: free.ids.index(free.ids[2]) + 1]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt((), 1, END_ID), "at least one token"),
        (Prompt((1,), 0, END_ID), "max_new_tokens"),
        (Prompt((VOCABULARY,), 1, END_ID), f"0 to {VOCABULARY - 1}"),
        (Prompt((-1,), 1, END_ID), f"0 to {VOCABULARY - 1}"),
        (Prompt((1,) * 60, 10, END_ID), "KV cache 64 tokens"),
    ],
)
def test_decoder_refuses_prompts_that_it_can_never_serve(load, prompt, reason):
    """A prompt that cannot be served is rejected with the reason, and its neighbours are served."""
    decoder = load(kv_cache_tokens=64)
    bad, good = decoder.submit_many([prompt, Prompt((1, 2), 1, END_ID)])
    with pytest.raises(InferenceRejected, match=reason):
        bad.result(SECONDS)
    assert good.result(SECONDS).passes == 1


def test_decoder_serves_a_prompt_that_just_fits(load, slow):
    """The last slot of the KV cache can be used."""
    decoder = load(kv_cache_tokens=64)
    prompt = Prompt((1,) * 61, 4, -1)
    assert_same(decoder.submit(prompt).result(SECONDS), slow(prompt))


def test_decoder_finishes_more_than_its_kv_cache_holds(load, slow):
    """Forty documents finish in a KV cache for two of them, whose bound holds."""
    decoder = load(kv_cache_tokens=80, pass_tokens=32)
    prompts = [prompt for seed in range(40) for prompt in document(200 + seed % 25, branches=2)]
    for prompt, future in zip(prompts, decoder.submit_many(prompts), strict=True):
        assert_same(future.result(SECONDS), slow(prompt))
    assert decoder.statistics().slots_used <= 80
    assert_at_rest(decoder)


def test_decoder_holds_its_kv_caches_bound_under_256_long_documents(load):
    """A tenth of the needed slots is never exceeded, and the answers are those of a large KV cache."""
    prompts = [prompt for seed in range(256) for prompt in document(1000 + seed, text=150, branches=2, new=3)]
    crowded, roomy = load(kv_cache_tokens=4000), load(kv_cache_tokens=60_000)
    futures, highest = crowded.submit_many(prompts), 0
    until = time.monotonic() + SECONDS
    while not all(future.done() for future in futures) and time.monotonic() < until:
        highest = max(highest, crowded.statistics().slots_used)
        time.sleep(0.001)
    assert 3000 < highest <= 4000
    for future, right in zip(futures, roomy.submit_many(prompts), strict=True):
        assert_same(future.result(SECONDS), right.result(SECONDS))
    assert_at_rest(crowded)


def test_decoder_prefills_each_text_once_though_the_kv_cache_holds_few_of_them(load):
    """Thirty documents with two rounds of prompts each wait at once for a KV cache of six."""
    decoder = load(threads=1, kv_cache_tokens=1000)
    documents = [document(2000 + seed, text=150, branches=2, new=1) for seed in range(30)]
    asked: SimpleQueue[Future[Completion]] = SimpleQueue()

    def ask_again(prompts: list[Prompt], _answer: Future[Completion]) -> None:
        asked.put(decoder.submit(Prompt((*prompts[0].ids, 1, 2), 1, -1)))

    first = decoder.submit_many([prompt for prompts in documents for prompt in prompts])
    for prompts, future in zip(documents, first[::2], strict=True):
        future.add_done_callback(partial(ask_again, prompts))
    for _ in documents:
        # A future's waiters may be woken before its callbacks have run.
        asked.get(timeout=SECONDS).result(SECONDS)
    wait(first, SECONDS)
    once = 160 * len(documents)
    assert decoder.statistics().tokens_computed < 1.1 * once


def test_decoder_cancelled_prompts_leave_no_slot_allocated(load):
    """A cancelled future removes its prompt, running or waiting."""
    decoder = load(threads=1)
    futures = decoder.submit_many([prompt for seed in range(30) for prompt in document(seed, new=50)])
    time.sleep(0.01)
    assert all(future.cancel() for future in futures if not future.done())
    decoder.submit(Prompt((1, 2, 3), 1, END_ID)).result(SECONDS)
    assert_at_rest(decoder)


def test_decoder_survives_many_threads_and_cancellations(load, slow):
    """Some prompts from eight threads are cancelled: the others are right, and no slot leaks."""
    decoder = load(kv_cache_tokens=256, pass_tokens=32, threads=3)

    def client(seed: int) -> int:
        draw, served = random.Random(seed), 0
        for _ in range(25):
            prompts = document(draw.randrange(12), branches=3)
            futures = decoder.submit_many(prompts)
            for prompt, future in zip(prompts, futures, strict=True):
                if draw.random() < 0.3:
                    time.sleep(draw.random() * 0.002)
                    future.cancel()
                else:
                    assert_same(future.result(SECONDS), slow(prompt))
                    served += 1
        return served

    with ThreadPoolExecutor(8) as clients:
        assert sum(clients.map(client, range(8))) > 200
    decoder.submit(Prompt((1, 2, 3), 1, END_ID)).result(SECONDS)
    assert_at_rest(decoder)


def test_decoder_failed_pass_fails_its_prompts_alone(model, slow):
    """When ONNX Runtime fails, the prompts of that pass fail with the reason; later ones are served."""
    errors = [RuntimeError("out of memory")]

    def fail_once():
        if errors:
            raise errors.pop()

    broken = Sessions(*(Watched(each, fail_once) for each in (model.sessions.narrow, model.sessions.wide)))
    decoder = Decoder(replace(model, sessions=broken))
    try:
        prompts = document(8)
        for future in decoder.submit_many(prompts):
            with pytest.raises(InferenceError, match="out of memory") as failed:
                future.result(SECONDS)
            assert type(failed.value) is InferenceError
        assert decoder.failure is None
        for prompt, future in zip(prompts, decoder.submit_many(prompts), strict=True):
            assert_same(future.result(SECONDS), slow(prompt))
        assert_at_rest(decoder)
    finally:
        decoder.close()


def test_decoder_close_cancels_prompts_in_flight(load):
    """After close every future is done, and new prompts are refused."""
    decoder = load()
    futures = decoder.submit_many([prompt for seed in range(30) for prompt in document(seed, new=50)])
    decoder.close()
    assert all(future.done() for future in futures)
    assert decoder.failure is None
    with pytest.raises(InferenceUnavailable, match="closed"):
        decoder.submit(Prompt((1,), 1, END_ID)).result(SECONDS)


def test_decoder_that_fails_leaves_no_caller_waiting(model):
    """When a thread dies of a bug, its callers and later ones get the cause, which ``failure`` keeps."""

    class Broken:
        """A proposer with a bug."""

        def propose(self, sequence, width, *, busy):
            """Fail."""
            raise ZeroDivisionError

    decoder = Decoder(model, proposer=Broken())
    for _ in range(2):
        with pytest.raises(InferenceUnavailable, match="ZeroDivisionError"):
            decoder.submit(Prompt((1,), 2, END_ID)).result(SECONDS)
    assert decoder.closed
    assert isinstance(decoder.failure, ZeroDivisionError)


def test_decoder_refuses_forced_answers_that_are_not_one_per_prompt(load):
    """A list of another length is an error, and no prompt is dropped or queued."""
    decoder = load()
    for forced in ([(1,)], [(1,)] * 3):
        with pytest.raises(ValueError, match=f"{len(forced)} forced answers for 2 prompts"):
            decoder.submit_many([Prompt((1, 2), 2, END_ID)] * 2, forced=forced)
    assert decoder.statistics().in_flight == 0


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"kv_cache_mb": 3}, 3 * 2**20 // 256),
        ({"kv_cache_mb": 1}, 4096),
        ({"kv_cache_mb": 1000}, 65_536),
        ({"kv_cache_mb": 1000, "kv_cache_tokens": 50}, 50),
    ],
)
def test_decoder_kv_cache_has_its_size_within_bounds(model, options, tokens):
    """MiB of keys and values decide, but it holds 4,096 tokens at least and 65,536 at most."""
    assert KvCache.bytes_per_slot(model.spec) == 256
    decoder = Decoder(model, EngineOptions(**options))
    decoder.close()
    assert decoder.statistics().slots_bound == tokens

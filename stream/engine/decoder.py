"""Greedy decoding of many prompts at once on the CPU. Knows token ids only.

A step is the whole engine: schedule a pass, run it, accept its outcome. Several threads step at once, each
on another group of sequences, and run their passes by themselves; a group that is alone is spread over them.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Tokens
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import structlog

from stream.engine.batch import Batch
from stream.engine.constraint import Grounding
from stream.engine.drafts.blocks import BlockProposer
from stream.engine.drafts.copying import CopyDrafter
from stream.engine.drafts.draft import Proposer
from stream.engine.drafts.probe import CachedStates
from stream.engine.forward import ForwardPass
from stream.engine.kv_cache import KvCache
from stream.engine.model.config import ModelSpec
from stream.engine.model.session import Model
from stream.engine.prompt import read_question
from stream.engine.scheduler import Group, Scheduler
from stream.engine.sequence import Sequence
from stream.engine.strategy import Strategy
from stream.engine.token_shapes import TokenShapes
from stream.engine.trace import OnPass, PassRecorder
from stream.errors import InferenceError, InferenceRejected, InferenceUnavailable
from stream.generation import Completion, Prompt


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


_JACOBI_BLOCK = 16
_GAUSS_SEIDEL_BLOCK = 5
_CONFIDENCE = 0.2


def confidence_of(strategy: Strategy) -> float | None:
    """Probability from which on a drafted token is taken though another is likelier; None: never."""
    return None if strategy.lossless else _CONFIDENCE


def make_proposer(strategy: Strategy, shapes: TokenShapes, cache: KvCache) -> Proposer | None:
    """What drafts for a strategy; None when nothing does.

    Args:
        strategy: How next tokens are found.
        shapes: Of the model's tokens.
        cache: The pool of the keys and values of what was read.
    """
    match strategy:
        case Strategy.DRAFTS | Strategy.LUD:
            return CopyDrafter(shapes, CachedStates(cache))
        case Strategy.JACOBI:
            return BlockProposer(_JACOBI_BLOCK, sliding=True)
        case Strategy.GAUSS_SEIDEL:
            return BlockProposer(_GAUSS_SEIDEL_BLOCK, sliding=False)
        case Strategy.PLAIN:
            return None


_log = structlog.get_logger(__name__)

_DEFAULT_CACHE_BYTES = 128 * 2**20
_DEFAULT_SLOTS = (4096, 65_536)
_PASS_TOKENS = 512
_DRAFT_TOKENS = 32
# 32 documents in flight, 19M parameters: 42 documents/s with every document in passes of its own, 57 with
# 32, 61 with 64 and with 160; 5M parameters: 7.2 ms of CPU time a document, 6.4, 6.3 and 6.6.
_MIXED_TOKENS = 64
_MOMENT = 0.001  # seconds
_UNLEARNED = 8


class Decoder:
    """Continues prompts greedily; all methods may be called from any thread.

    Args:
        forward: The forward pass and its pool of keys and values.
        threads: Passes that run at once.
        pass_tokens: Most new tokens in one pass, at most ``MOST_PASS_TOKENS``; longer prompts are read in
            pieces.
        proposer: Drafts continuations; None: one token a pass.
        draft_tokens: Most drafted tokens a sequence and pass.
        confidence: Probability from which on a drafted token is taken though another is likelier.
        on_pass: Told of every pass, from the thread that ran it.
        grounded: The shapes of the model's tokens, to hold answers to spans of their prompt's text; None:
            they are free.
    """

    def __init__(
        self,
        forward: ForwardPass,
        *,
        threads: int,
        pass_tokens: int,
        proposer: Proposer | None = None,
        draft_tokens: int = _DRAFT_TOKENS,
        confidence: float | None = None,
        on_pass: OnPass | None = None,
        grounded: TokenShapes | None = None,
    ) -> None:
        self.spec = forward.spec
        self._on_pass = on_pass
        self._grounded = grounded
        self._forward = forward
        self._cache = forward.cache
        self._scheduler = Scheduler(
            self._cache,
            pass_tokens,
            proposer,
            draft_tokens=draft_tokens,
            confidence=confidence,
            mixed_tokens=_MIXED_TOKENS,
            threads=threads,
        )
        self._seconds = dict.fromkeys(("schedule", "feed", "run", "accept"), 0.0)
        self._passes = self._tokens_read = self._tokens_produced = 0
        self._closed = False
        self._on_settled: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._threads = [
            threading.Thread(target=self._serve, name=f"decoder-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int = 2,
        cache_tokens: int | None = None,
        pass_tokens: int = _PASS_TOKENS,
        strategy: Strategy = Strategy.DRAFTS,
        draft_tokens: int = _DRAFT_TOKENS,
        grounded: bool = False,
        int8: bool = False,
        graph_cache: Path | None = None,
        on_pass: OnPass | None = None,
    ) -> "Decoder":
        """Load a Hugging Face model folder for one decoder; the options are those of ``Model`` and ``of``.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        return cls.of(
            Model.load(folder, threads=threads, int8=int8, graph_cache=graph_cache),
            cache_tokens=cache_tokens,
            pass_tokens=pass_tokens,
            strategy=strategy,
            draft_tokens=draft_tokens,
            grounded=grounded,
            on_pass=on_pass,
        )

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        cache_tokens: int | None = None,
        pass_tokens: int = _PASS_TOKENS,
        strategy: Strategy = Strategy.DRAFTS,
        draft_tokens: int = _DRAFT_TOKENS,
        grounded: bool = False,
        on_pass: OnPass | None = None,
    ) -> "Decoder":
        """A decoder of a model, with a pool of its own.

        Args:
            model: Runs as many passes at once as it has threads.
            cache_tokens: Bound of the pool of keys and values; by default what 128 MiB hold, though at least
                4,096 and at most 65,536.
            pass_tokens: Most new tokens in one pass.
            strategy: How next tokens are found; none that is lossless changes an answer.
            draft_tokens: Most drafted tokens a sequence and pass.
            grounded: Hold answers to spans of the prompt's text, which is its first run of tokens that are
                no control tokens; log-probabilities stay unconstrained. Prompts with stop ids, and those
                that ask for a single token, are left free.
            on_pass: Told of every pass, from the thread that ran it.
        """
        cache = KvCache(model.spec, cache_tokens or _default_slots(model.spec))
        return cls(
            ForwardPass(model.spec, model.sessions, cache),
            threads=model.threads,
            pass_tokens=pass_tokens,
            proposer=make_proposer(strategy, model.shapes, cache),
            draft_tokens=draft_tokens,
            confidence=confidence_of(strategy),
            on_pass=on_pass,
            grounded=model.shapes if grounded else None,
        )

    @property
    def closed(self) -> bool:
        """Whether it takes no more prompts, because it was closed or broke down."""
        return self._closed

    @property
    def longest_sequence(self) -> int:
        """Most tokens a prompt and its answer may have together."""
        return min(self.spec.max_positions, self._cache.slots)

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """Queue one prompt; see ``submit_many``."""
        return self.submit_many([prompt])[0]

    def submit_many(
        self, prompts: Iterable[Prompt], *, forced: Iterable[Tokens[int] | None] | None = None
    ) -> list[Future[Completion]]:
        """Queue prompts together, so that those that share a prefix are read in the same pass.

        Args:
            prompts: What to continue.
            forced: For each prompt the answer to give whatever the model says, without the end id, or None.
                Passes and time are then those of a model that answers so, log-probabilities this model's.

        Returns:
            For each prompt the future of its completion. Cancelling a future takes its prompt out of the
            engine. A prompt that can never be served fails with ``InferenceRejected``, one whose pass broke
            with ``InferenceError``, one that comes after ``close`` with ``InferenceUnavailable``.
        """
        futures: list[Future[Completion]] = []
        accepted: list[Sequence] = []
        answers: Iterable[Tokens[int] | None] = repeat(None) if forced is None else forced
        for prompt, answer in zip(prompts, answers, strict=False):
            future: Future[Completion] = Future()
            futures.append(future)
            if refusal := self._refusal(prompt):
                future.set_exception(InferenceRejected(refusal))
            else:
                sequence = Sequence(prompt, future, None if answer is None else tuple(answer))
                self._ground(sequence)
                accepted.append(sequence)
        with self._lock:
            closed = self._closed
            if not closed:
                for sequence in accepted:
                    self._scheduler.add(sequence)
                self._work.notify()
        for sequence in accepted:
            if closed:
                sequence.future.set_exception(InferenceUnavailable("the engine is closed"))
            else:
                sequence.future.add_done_callback(partial(self._forget_if_cancelled, sequence))
        return futures

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Have a function called, from any thread, each time one or several futures were settled.

        A pass settles many; who answers with new prompts does best to wait for this, so that they are read
        together in the next pass.
        """
        self._on_settled.append(callback)

    def statistics(self) -> Statistics:
        """Counts so far."""
        with self._lock:
            return Statistics(
                passes=self._passes,
                tokens_read=self._tokens_read,
                tokens_reused=self._scheduler.tokens_reused,
                tokens_produced=self._tokens_produced,
                slots_used=self._cache.used,
                slots_bound=self._cache.slots,
                in_flight=len(self._scheduler.sequences),
                tokens_drafted=dict(self._scheduler.drafted),
                tokens_accepted=dict(self._scheduler.accepted),
                seconds=dict(self._seconds),
            )

    def close(self) -> None:
        """Stop the threads and cancel what is in flight; passes that run are waited for."""
        stopped = self._stop()
        for sequence in stopped:
            sequence.future.cancel()
        self._announce(stopped)
        for thread in self._threads:
            thread.join()

    def _stop(self) -> list[Sequence]:
        with self._lock:
            self._closed = True
            self._work.notify_all()
            return self._scheduler.sequences

    def _serve(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 - a thread that dies unheard leaves its callers waiting
            _log.exception("engine thread died")
            stopped = self._stop()
            for sequence in stopped:
                _settle(sequence.future, InferenceUnavailable(f"the engine stopped: {error!r}"))
            self._announce(stopped)

    def _step(self) -> bool:
        """Schedule, run, accept.

        Returns:
            False when the decoder is closed.
        """
        with self._lock:
            began, scheduled = self._next()
            if scheduled is None:
                return False
            groups, batch = scheduled
            alone = self._scheduler.groups == 1
            composed = time.perf_counter()
            feed = batch.feed()
            if self._scheduler.idle_groups or self._scheduler.unlearned:
                self._work.notify()
        laid_out = time.perf_counter()
        try:
            outcome = self._forward.run(feed, alone=alone)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
            with self._lock:
                failed = self._scheduler.fail(groups, batch)
            for sequence in failed:
                _settle(sequence.future, InferenceError(f"a forward pass failed: {error}"))
            self._announce(failed)
            return True
        ran = time.perf_counter()
        with self._lock:
            self._count(batch)
            recorder = PassRecorder(batch, feed.past.shape[1]) if self._on_pass else None
            finished = self._scheduler.accept(groups, batch, outcome)
            self._tokens_produced += sum(len(sequence.produced) for sequence in finished)
            spent = (composed - began, laid_out - composed, ran - laid_out, time.perf_counter() - ran)
            self._clock(*spent)
        if self._on_pass and recorder:
            self._on_pass(recorder.trace(finished, dict(zip(self._seconds, spent, strict=True))))
        for sequence in finished:
            _settle(sequence.future, sequence.completion())
        self._announce(finished)
        return True

    def _next(self) -> tuple[float, tuple[list[Group], Batch] | None]:
        """Wait until a pass can run; the lock is held, but not while it waits.

        From what is finished it learns meanwhile: while another thread's pass runs, or when nothing has come
        for a moment, for who waits for the answers of a pass must not wait for that too.

        Returns:
            When scheduling began, and the pass; None when the decoder is closed.
        """
        if len(self._scheduler.unlearned) > _UNLEARNED:
            self._scheduler.learn()
        while True:
            began = time.perf_counter()
            if self._closed:
                return began, None
            if (scheduled := self._scheduler.schedule()) is not None:
                return began, scheduled
            if not self._scheduler.unlearned:
                self._work.wait()
            elif self._scheduler.running or not self._work.wait(_MOMENT):
                self._scheduler.learn()

    def _announce(self, settled: list[Sequence]) -> None:
        if settled:
            for callback in self._on_settled:
                callback()

    def _clock(self, *seconds: float) -> None:
        for part, spent in zip(self._seconds, seconds, strict=True):
            self._seconds[part] += spent

    def _count(self, batch: Batch) -> None:
        self._passes += 1
        self._tokens_read += batch.tokens
        for sequence in batch.readers:
            sequence.passes += 1

    def _forget_if_cancelled(self, sequence: Sequence, future: Future[Completion]) -> None:
        if future.cancelled():
            with self._lock:
                self._scheduler.remove(sequence)
                # Its slots may be what another sequence waits for.
                self._work.notify()

    def _ground(self, sequence: Sequence) -> None:
        prompt = sequence.prompt
        if self._grounded is None or prompt.max_new_tokens == 1 or prompt.stop_ids:
            return
        sequence.question = read_question(prompt.ids, self._grounded)
        if sequence.question is not None:
            sequence.grounding = Grounding.of(np.array(sequence.question.text), prompt.end_id)

    def _refusal(self, prompt: Prompt) -> str | None:
        """Why a prompt can never be served; None when it can."""
        if not prompt.ids or prompt.max_new_tokens < 1:
            return "a prompt needs at least one token id and max_new_tokens of at least 1"
        if min(prompt.ids) < 0 or max(prompt.ids) >= self.spec.vocabulary:
            return f"token ids go from 0 to {self.spec.vocabulary - 1}; the prompt holds others"
        needed = len(prompt.ids) + prompt.max_new_tokens - 1
        if needed > self.longest_sequence:
            return (
                f"{len(prompt.ids)} prompt tokens and up to {prompt.max_new_tokens} new ones do not fit: "
                f"the model takes {self.spec.max_positions} positions, the cache {self._cache.slots} tokens"
            )
        return None


def _default_slots(spec: ModelSpec) -> int:
    least, most = _DEFAULT_SLOTS
    return min(max(least, _DEFAULT_CACHE_BYTES // KvCache.bytes_per_slot(spec)), most)


def _settle(future: Future[Completion], outcome: Completion | InferenceError) -> None:
    try:
        if isinstance(outcome, InferenceError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        # Cancelled a moment ago: nobody waits for it.
        return

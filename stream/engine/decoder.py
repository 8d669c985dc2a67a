"""Greedy decoding of many prompts at once on the CPU, over token ids only.

A step of the engine schedules a pass, runs it and accepts its output. Several threads step at once, each on
other groups of sequences with a pass of its own. The pass of a single group is spread over all threads.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as Tokens
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from stream.engine.batch import Batch
from stream.engine.drafts.copying import CopyDrafter
from stream.engine.drafts.draft import Proposer
from stream.engine.drafts.probe import ValueFeatures
from stream.engine.forward import ForwardPass
from stream.engine.kv_cache import KvCache
from stream.engine.model.config import ModelSpec
from stream.engine.model.session import Model
from stream.engine.prompt import PromptParts
from stream.engine.scheduler import Scheduler
from stream.engine.sequence import Sequence, SpanConstraint
from stream.engine.trace import Accept, Clock, OnPass, traced
from stream.engine.verification import Verifier
from stream.errors import InferenceError, InferenceRejected, InferenceUnavailable
from stream.generation import Completion, Prompt
from stream.settings import Settings

_log = structlog.get_logger(__name__)

_CACHE_TOKENS = (4096, 65_536)
# 32 documents in flight, 19M parameters: 42 documents/s with every document in passes of its own, 57 with
# 32, 61 with 64 and with 160; 5M parameters: 7.2 ms of CPU time a document, 6.4, 6.3 and 6.6.
_SMALL_PASS = 64
_IDLE_SECONDS = 0.001
_MAX_UNLEARNED = 8


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of an engine.

    Attributes:
        threads: Passes that run at once, and threads that a single pass may be spread over.
        int8: Whether the layers' matrix products are int8-quantised: faster, and no longer exact.
        constrained: Whether answers are constrained to spans of the prompt's text, which is its first run of
            ordinary tokens. Log-probabilities stay unconstrained. Prompts with stop ids, and those for a
            single token, are not constrained.
        drafts: Whether answers are drafted and verified; no answer depends on it.
        draft_tokens: Maximum number of drafted tokens per sequence and pass.
        pass_tokens: Maximum number of new tokens in a pass, at most ``MAX_PASS_TOKENS``; longer prompts are
            prefilled in chunks.
        kv_cache_mb: MiB of the KV cache, which holds at least 4,096 and at most 65,536 tokens.
        kv_cache_tokens: Exact size of the KV cache instead, in tokens.
        graph_cache: Folder for built graphs; None: the user's cache folder.
    """

    threads: int = 2
    int8: bool = False
    constrained: bool = False
    drafts: bool = True
    draft_tokens: int = 32
    pass_tokens: int = 512
    kv_cache_mb: int = 128
    kv_cache_tokens: int | None = None
    graph_cache: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "EngineOptions":
        """The options that users may set."""
        return cls(
            threads=settings.engine_threads,
            int8=settings.int8,
            constrained=settings.constrained,
            kv_cache_mb=settings.kv_cache_mb,
            graph_cache=settings.cache_dir,
        )

    def cache_tokens(self, spec: ModelSpec) -> int:
        """Size of a model's KV cache, in tokens."""
        if self.kv_cache_tokens is not None:
            return self.kv_cache_tokens
        least, most = _CACHE_TOKENS
        return min(max(least, self.kv_cache_mb * 2**20 // KvCache.bytes_per_slot(spec)), most)


_DEFAULTS = EngineOptions()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the decoder was created, and the state of its KV cache.

    Attributes:
        passes: Forward passes, over all threads.
        tokens_computed: Tokens that went through the model.
        tokens_reused: Prompt tokens that were cached already.
        tokens_produced: Tokens in completions.
        slots_used: Allocated slots of the KV cache, in use or kept for reuse.
        slots_bound: Size of the KV cache, in slots.
        in_flight: Prompts queued or being decoded.
        tokens_drafted: Drafted tokens, by drafter.
        tokens_accepted: Accepted ones among them, by drafter.
        seconds: Time spent, over all threads, by part of a pass: ``schedule``, ``feed``, ``run``, ``accept``.
    """

    passes: int
    tokens_computed: int
    tokens_reused: int
    tokens_produced: int
    slots_used: int
    slots_bound: int
    in_flight: int
    tokens_drafted: Mapping[str, int]
    tokens_accepted: Mapping[str, int]
    seconds: Mapping[str, float]


class Decoder:
    """Continues prompts greedily; all methods may be called from any thread.

    Args:
        model: The model. Its threads are the decoder's.
        options: Those of a decoder; ``threads``, ``int8`` and ``graph_cache`` belong to the model.
        proposer: Drafts answers; None: the copy drafter, unless ``options`` switches drafts off.
        verifier: Accepts drafted tokens; None: the lossless one.
        on_pass: Called with a trace of every pass, under the decoder's lock.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions = _DEFAULTS,
        *,
        proposer: Proposer | None = None,
        verifier: Verifier | None = None,
        on_pass: OnPass | None = None,
    ) -> None:
        self.spec = model.spec
        self._cache = KvCache(model.spec, options.cache_tokens(model.spec))
        self._shapes = model.shapes if options.constrained else None
        if proposer is None and options.drafts:
            proposer = CopyDrafter(model.shapes, ValueFeatures(self._cache))
        self._scheduler = Scheduler(
            self._cache,
            options.pass_tokens,
            proposer,
            verifier=verifier,
            draft_tokens=options.draft_tokens,
            small_pass=_SMALL_PASS,
            threads=model.threads,
        )
        self._clock = Clock("schedule", "feed", "run", "accept")
        self._schedule = self._clock.timed("schedule", self._scheduler.schedule)
        self._feed = self._clock.timed("feed", Batch.feed)
        self._run = self._clock.timed("run", ForwardPass(model.sessions, self._cache).run)
        self._accept: Accept = self._clock.timed("accept", self._scheduler.accept)
        if on_pass is not None:
            self._accept = traced(self._accept, self._clock, on_pass)
        self._closed = False
        self._failure: Exception | None = None
        self._on_settled: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._threads = [
            threading.Thread(target=self._serve, name=f"decoder-{index}", daemon=True)
            for index in range(model.threads)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def load(
        cls, folder: Path, options: EngineOptions = _DEFAULTS, *, on_pass: OnPass | None = None
    ) -> "Decoder":
        """Load a Hugging Face model folder for one decoder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        model = Model.load(
            folder, threads=options.threads, int8=options.int8, graph_cache=options.graph_cache
        )
        return cls(model, options, on_pass=on_pass)

    @property
    def closed(self) -> bool:
        """True once it takes no more prompts, after ``close`` or a failure."""
        return self._closed

    @property
    def failure(self) -> Exception | None:
        """The error that ended the decoder for good; None while it runs, and after ``close``.

        A failed forward pass is no such error: it fails the prompts of that pass alone.
        """
        return self._failure

    @property
    def longest_sequence(self) -> int:
        """Maximum number of tokens of a prompt and its answer together."""
        return min(self.spec.max_positions, self._cache.slots)

    def submit(self, prompt: Prompt) -> Future[Completion]:
        """Queue one prompt; see ``submit_many``."""
        return self.submit_many([prompt])[0]

    def submit_many(
        self, prompts: Iterable[Prompt], *, forced: Iterable[Tokens[int] | None] | None = None
    ) -> list[Future[Completion]]:
        """Queue prompts together, so that a shared prefix is prefilled in one pass.

        Args:
            prompts: The prompts.
            forced: Forced decoding (teacher forcing): for each prompt the answer to give, without the end id,
                or None. Passes and time are those of a model with that answer; log-probabilities are this
                model's.

        Returns:
            The futures of the completions. Cancelling a future removes its prompt from the engine. A prompt
            that can never be served fails with ``InferenceRejected``, a prompt of a failed pass with
            ``InferenceError``, and a prompt after ``close`` or a failure with ``InferenceUnavailable``.

        Raises:
            ValueError: ``forced`` has another length than ``prompts``.
        """
        prompts = list(prompts)
        answers = [None] * len(prompts) if forced is None else list(forced)
        if len(answers) != len(prompts):
            raise ValueError(
                f"{len(answers)} forced answers for {len(prompts)} prompts; each needs one, or None"
            )
        futures: list[Future[Completion]] = []
        accepted: list[Sequence] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            future: Future[Completion] = Future()
            futures.append(future)
            if refusal := self._refusal(prompt):
                future.set_exception(InferenceRejected(refusal))
            else:
                constraint = self._constraint(prompt)
                accepted.append(
                    Sequence(prompt, future, None if answer is None else tuple(answer), constraint)
                )
        with self._lock:
            closed = self._closed
            if not closed:
                for sequence in accepted:
                    self._scheduler.add(sequence)
                self._work.notify()
        for sequence in accepted:
            if closed:
                sequence.future.set_exception(self._unavailable())
            else:
                sequence.future.add_done_callback(partial(self._remove_if_cancelled, sequence))
        return futures

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Register a function to call, from any thread, each time one or several futures are done.

        A pass finishes many. Follow-up prompts are best sent after this call, so that they share a pass.
        """
        self._on_settled.append(callback)

    @contextmanager
    def tracing(self, on_pass: OnPass) -> Iterator[None]:
        """Call a function with a trace of each pass of this block, under the decoder's lock."""
        with self._lock:
            untraced = self._accept
            self._accept = traced(untraced, self._clock, on_pass)
        try:
            yield
        finally:
            with self._lock:
                self._accept = untraced

    def statistics(self) -> Statistics:
        """Counts so far."""
        with self._lock:
            counts = self._scheduler.counts
            return Statistics(
                passes=counts.passes,
                tokens_computed=counts.computed,
                tokens_reused=counts.reused,
                tokens_produced=counts.produced,
                slots_used=self._cache.used,
                slots_bound=self._cache.slots,
                in_flight=len(self._scheduler.sequences),
                tokens_drafted=dict(counts.drafted),
                tokens_accepted=dict(counts.accepted),
                seconds=self._clock.seconds(),
            )

    def close(self) -> None:
        """Cancel prompts in flight, and wait for the threads to finish their passes."""
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
        except Exception as error:  # noqa: BLE001 - callers of a thread that died silently would wait for ever
            _log.exception("engine thread died")
            self._failure = self._failure or error
            stopped = self._stop()
            for sequence in stopped:
                _settle(sequence.future, self._unavailable())
            self._announce(stopped)

    def _step(self) -> bool:
        """Schedule, run, accept.

        Returns:
            False once the decoder is closed.
        """
        with self._lock:
            batch = self._next()
            if batch is None:
                return False
            feed, alone = self._feed(batch), self._scheduler.single_group
            if self._scheduler.waiting or self._scheduler.unlearned:
                self._work.notify()
        try:
            output = self._run(feed, alone=alone)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
            self._fail(batch, error)
            return True
        with self._lock:
            finished = self._accept(batch, output)
        for sequence in finished:
            _settle(sequence.future, sequence.completion())
        self._announce(finished)
        return True

    def _next(self) -> Batch | None:
        """Wait for a pass that can run; the lock is held except while waiting.

        Learning from finished answers is deferred until the engine is idle or another pass is running, so
        that it never delays a caller.

        Returns:
            The pass; None once the decoder is closed.
        """
        if len(self._scheduler.unlearned) > _MAX_UNLEARNED:
            self._scheduler.learn()
        while not self._closed:
            if (batch := self._schedule()) is not None:
                return batch
            if not self._scheduler.unlearned:
                self._work.wait()
            elif self._scheduler.running or not self._work.wait(_IDLE_SECONDS):
                self._scheduler.learn()
        return None

    def _fail(self, batch: Batch, error: Exception) -> None:
        with self._lock:
            failed = self._scheduler.fail(batch)
        for sequence in failed:
            _settle(sequence.future, InferenceError(f"a forward pass failed: {error}"))
        self._announce(failed)

    def _announce(self, settled: list[Sequence]) -> None:
        if settled:
            for callback in self._on_settled:
                callback()

    def _remove_if_cancelled(self, sequence: Sequence, future: Future[Completion]) -> None:
        if future.cancelled():
            with self._lock:
                self._scheduler.remove(sequence)
                # Another sequence may be waiting for its slots.
                self._work.notify()

    def _unavailable(self) -> InferenceUnavailable:
        if self._failure is None:
            return InferenceUnavailable("the engine is closed")
        return InferenceUnavailable(f"the engine stopped: {self._failure!r}")

    def _constraint(self, prompt: Prompt) -> SpanConstraint | None:
        if self._shapes is None or prompt.max_new_tokens == 1 or prompt.stop_ids:
            return None
        parts = PromptParts.split(prompt.ids, self._shapes)
        return None if parts is None else SpanConstraint.of(np.array(parts.text), prompt.end_id)

    def _refusal(self, prompt: Prompt) -> str | None:
        """Why a prompt can never be served; None when it can."""
        if not prompt.ids or prompt.max_new_tokens < 1:
            return "a prompt needs at least one token id and max_new_tokens of at least 1"
        if min(prompt.ids) < 0 or max(prompt.ids) >= self.spec.vocabulary:
            return f"token ids go from 0 to {self.spec.vocabulary - 1}; the prompt holds others"
        needed = len(prompt.ids) + prompt.max_new_tokens - 1
        if needed > self.longest_sequence:
            return (
                f"{len(prompt.ids)} prompt tokens and up to {prompt.max_new_tokens} new ones do not fit: the "
                f"model takes {self.spec.max_positions} positions, the KV cache {self._cache.slots} tokens"
            )
        return None


def _settle(future: Future[Completion], outcome: Completion | InferenceError) -> None:
    try:
        if isinstance(outcome, InferenceError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        # Cancelled a moment ago.
        return

"""Greedy decoding of many prompts at once on the CPU. Knows token ids only.

A step is the whole engine: schedule a pass, run it, accept its outcome. Several threads step at once, each
on another group of sequences, over one ONNX Runtime session that runs every pass on its calling thread.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import structlog

from stream.engine.batch import Batch, Feed
from stream.engine.checkpoint import Checkpoint, ModelSpec
from stream.engine.kv_cache import KvCache
from stream.engine.scheduler import Scheduler
from stream.engine.sequence import Sequence
from stream.engine.session import default_cache_folder, open_session
from stream.errors import InferenceError, InferenceRejected, InferenceUnavailable
from stream.generation import Completion, Prompt

_log = structlog.get_logger(__name__)

_DEFAULT_CACHE_BYTES = 128 * 2**20
_DEFAULT_SLOTS = (4096, 65_536)


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
    """

    passes: int
    tokens_read: int
    tokens_reused: int
    tokens_produced: int
    slots_used: int
    slots_bound: int
    in_flight: int


class Decoder:
    """Continues prompts greedily; all methods may be called from any thread.

    Args:
        spec: The model's shapes.
        session: Over the graph of ``stream.engine.graph``.
        threads: Passes that run at once.
        slots: Bound of the pool of keys and values, in tokens.
        pass_tokens: Most new tokens in one pass; longer prompts are read in pieces.
    """

    def __init__(
        self,
        spec: ModelSpec,
        session: onnxruntime.InferenceSession,
        *,
        threads: int,
        slots: int,
        pass_tokens: int,
    ) -> None:
        self.spec = spec
        self._session = session
        self._cache = KvCache(spec, slots)
        self._scheduler = Scheduler(self._cache, pass_tokens)
        self._outputs = ["logits", "normaliser"]
        self._outputs += [
            f"{part}_{layer}" for layer in range(spec.layers) for part in ("new_keys", "new_values")
        ]
        self._pool = {
            f"{part}_{layer}": array
            for layer, pair in enumerate(self._cache.layers)
            for part, array in zip(("keys", "values"), pair, strict=True)
        }
        self._passes = self._tokens_read = self._tokens_produced = 0
        self._closed = False
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
        pass_tokens: int = 512,
        graph_cache: Path | None = None,
    ) -> "Decoder":
        """Load a Hugging Face model folder (config.json and safetensors).

        Args:
            folder: The model.
            threads: Passes that run at once; one a core serves best.
            cache_tokens: Bound of the pool of keys and values; by default what 128 MiB hold, though at least
                4,096 and at most 65,536.
            pass_tokens: Most new tokens in one pass.
            graph_cache: Where built graphs are kept; by default the user's cache folder.

        Raises:
            CheckpointError: The folder holds no model that can be served.
        """
        checkpoint = Checkpoint.open(folder)
        slots = cache_tokens or _default_slots(checkpoint.spec)
        session = open_session(checkpoint, graph_cache or default_cache_folder())
        return cls(checkpoint.spec, session, threads=threads, slots=slots, pass_tokens=pass_tokens)

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

    def submit_many(self, prompts: Iterable[Prompt]) -> list[Future[Completion]]:
        """Queue prompts together, so that those that share a prefix are read in the same pass.

        Returns:
            For each prompt the future of its completion. Cancelling a future takes its prompt out of the
            engine. A prompt that can never be served fails with ``InferenceRejected``, one whose pass broke
            with ``InferenceError``, one that comes after ``close`` with ``InferenceUnavailable``.
        """
        futures: list[Future[Completion]] = []
        accepted: list[Sequence] = []
        for prompt in prompts:
            future: Future[Completion] = Future()
            futures.append(future)
            if refusal := self._refusal(prompt):
                future.set_exception(InferenceRejected(refusal))
            else:
                accepted.append(Sequence(prompt, future))
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
            )

    def close(self) -> None:
        """Stop the threads and cancel what is in flight; passes that run are waited for."""
        for sequence in self._stop():
            sequence.future.cancel()
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
            for sequence in self._stop():
                _settle(sequence.future, InferenceUnavailable(f"the engine stopped: {error!r}"))

    def _step(self) -> bool:
        """Schedule, run, accept.

        Returns:
            False when the decoder is closed.
        """
        with self._lock:
            scheduled = None
            while not self._closed and (scheduled := self._scheduler.schedule()) is None:
                self._work.wait()
            if scheduled is None:
                return False
            group, batch = scheduled
            feed = batch.feed()
            if self._scheduler.idle_groups:
                self._work.notify()
        try:
            tokens, log_probs = self._run(feed)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
            with self._lock:
                failed = self._scheduler.fail(group, batch)
            for sequence in failed:
                _settle(sequence.future, InferenceError(f"a forward pass failed: {error}"))
            return True
        with self._lock:
            self._count(batch)
            finished = self._scheduler.accept(group, batch, tokens, log_probs)
            self._tokens_produced += sum(len(sequence.produced) for sequence in finished)
        for sequence in finished:
            _settle(sequence.future, sequence.completion())
        return True

    def _run(self, feed: Feed) -> tuple[list[int], list[float]]:
        """One forward pass.

        Returns:
            Of every row asked for, the likeliest token and its log-probability.
        """
        inputs = {
            "ids": feed.ids,
            "positions": feed.positions,
            "past": feed.past,
            "mask": feed.mask,
            "rows": feed.rows,
            **self._pool,
        }
        logits, normaliser, *new = self._session.run(self._outputs, inputs)
        self._cache.write(feed.slots, new)
        tokens = logits.argmax(axis=1)
        log_probs = logits[np.arange(len(tokens)), tokens] - normaliser[:, 0]
        return tokens.tolist(), log_probs.tolist()

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

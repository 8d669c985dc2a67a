"""The ``tensorrt_llm`` model over an engine that runs on an event loop, in Triton's python backend.

It is the twin of the CPU engine's model: names, shapes and words are those of ``stream.inference.contract``.
A folder of ``triton_models`` brings the engine.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

from stream.generation import Prompt
from stream.inference.contract import NO_END, QUEUE_FULL_IN_ENGINE, Refusal
from stream.inference.python_backend import (
    CANCELLATION_CHECK_PERIOD,
    FINISHED,
    Exchange,
    end_process,
    parameters,
    prepare_process,
    take,
)
from stream.inference.token_engine import EngineDied, TokenEngine

_WARM_UP = Prompt((0,), 2, NO_END)
_REPLIERS = 4  # each mostly waits for the server to take a response


class EngineModel:
    """The class that Triton's python backend calls; a model's own one gives it name and engine.

    Args:
        name: What refusals call the engine.
        open_engine: Starts the engine, in the event loop that it will be used in.
    """

    def __init__(self, name: str, open_engine: Callable[[], Awaitable[TokenEngine]]) -> None:
        self._name = name
        self._open_engine = open_engine

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine, and let it answer once."""
        self._watcher = prepare_process()
        options = parameters(args)
        self._limit = int(options["max_queue_size"])
        self._exclude_input = options["exclude_input_in_output"] == "true"
        self._exchanges: dict[asyncio.Task[None], Exchange] = {}
        self._closing = Event()
        self._repliers = ThreadPoolExecutor(_REPLIERS)
        self._loop = asyncio.new_event_loop()
        self._threads = [Thread(target=self._loop.run_forever), Thread(target=self._watch)]
        self._threads[0].start()
        self._engine = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        self._threads[1].start()
        # Imported modules stay; garbage collections need not traverse them again.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        """Queue the requests; Triton takes ``None`` for a promise that their senders will respond."""
        accepted: list[Exchange] = []
        for request in requests:
            exchange = take(request, engine=self._name, exclude_input=self._exclude_input, perf_metrics=True)
            if exchange is None:
                continue
            try:
                self._engine.limits.check(exchange.request.prompt)
                if len(self._exchanges) + len(accepted) >= self._limit:
                    raise Refusal(QUEUE_FULL_IN_ENGINE.format(limit=self._limit))  # noqa: TRY301 - as any
            except Refusal as refusal:
                exchange.fail(refusal)
            else:
                accepted.append(exchange)
        self._loop.call_soon_threadsafe(self._start, accepted)

    def finalize(self) -> None:
        """Stop the threads and the engine, whose process would outlive the server."""
        self._closing.set()
        self._threads[1].join()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads[0].join()
        self._loop.close()
        self._repliers.shutdown()
        self._watcher.communicate(FINISHED)

    async def _open(self) -> TokenEngine:
        engine = await self._open_engine()
        # What an engine compiles with the first prompt takes longer than a health check waits.
        await engine.generate(_WARM_UP)
        return engine

    async def _close(self) -> None:
        for task in self._exchanges:
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        self._engine.shutdown()

    def _start(self, accepted: list[Exchange]) -> None:
        for exchange in accepted:
            task = self._loop.create_task(self._serve(exchange))
            self._exchanges[task] = exchange
            task.add_done_callback(self._exchanges.pop)

    async def _serve(self, exchange: Exchange) -> None:
        """Answer one request, by other threads: a sender waits for the server."""
        try:
            completion, cache = await self._engine.generate(exchange.request.prompt)
        except asyncio.CancelledError:
            self._repliers.submit(exchange.cancel)
        except EngineDied as death:
            end_process(death)
        except Exception as error:  # noqa: BLE001 - the failure of one request is no other's
            self._repliers.submit(exchange.fail, error)
        else:
            self._repliers.submit(exchange.answer, completion, cache)

    def _watch(self) -> None:
        """Cancel abandoned requests, and end with an engine that died, also while nothing is asked of it."""
        while not self._closing.wait(CANCELLATION_CHECK_PERIOD):
            if self._engine.dead:
                end_process(f"the {self._name} has died")
            now = time.monotonic()
            for task, exchange in self._exchanges.copy().items():
                if exchange.is_abandoned(now):
                    self._loop.call_soon_threadsafe(task.cancel)

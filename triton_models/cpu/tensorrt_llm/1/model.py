"""TensorRT-LLM's ``tensorrt_llm`` model, answered by this project's CPU engine in Triton's python backend.

Requests that greedy decoding cannot honour are refused with UNSUPPORTED (``stream.inference.contract``).

``execute`` only queues: each prompt enters the engine's running batch, and its response leaves through the
request's response sender when it is done, in any order.
"""

import gc
import time
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from stream.bundled import model_folder
from stream.engine.decoder import Decoder, EngineOptions
from stream.errors import InferenceUnavailable
from stream.generation import Completion
from stream.inference.contract import QUEUE_FULL_IN_ENGINE, Refusal
from stream.inference.python_backend import (
    CANCELLATION_CHECK_PERIOD,
    FINISHED,
    Exchange,
    end_process,
    parameters,
    prepare_process,
    take,
)
from stream.settings import Settings

_REPLIERS = 4  # each mostly waits for the server to take a response


def reply(exchange: Exchange, future: Future[Completion]) -> None:
    """Send the completion or the error; the future must be done."""
    try:
        completion = future.result()
    except CancelledError:
        exchange.cancel()
    except InferenceUnavailable as error:
        # The engine is gone for good.
        end_process(error)
    except Exception as error:  # noqa: BLE001 - the failure of one request is no other's
        exchange.fail(error)
    else:
        exchange.answer(completion)


class TritonPythonModel:
    """The class that Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that ``stream.settings`` names; all engine settings are read there."""
        self._watcher = prepare_process()
        options = parameters(args)
        self._limit = int(options["max_queue_size"])
        self._exclude_input = options["exclude_input_in_output"] == "true"
        settings = Settings()
        self._decoder = Decoder.load(model_folder(settings.model), EngineOptions.from_settings(settings))
        # By future, without a reference from the future to its exchange: in a cycle the exchange's sender
        # would keep its part of the memory shared with the server until a garbage collection.
        self._exchanges: dict[Future[Completion], Exchange] = {}
        self._done: SimpleQueue[Future[Completion] | None] = SimpleQueue()
        self._closing = Event()
        self._repliers = [Thread(target=self._reply) for _ in range(_REPLIERS)]
        self._threads = [*self._repliers, Thread(target=self._watch_cancellation)]
        for thread in self._threads:
            thread.start()
        # Imported modules and the model stay; garbage collections need not traverse them again.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        """Queue the requests; Triton takes ``None`` for a promise that their senders will respond."""
        accepted: list[Exchange] = []
        for request in requests:
            exchange = take(request, engine="CPU engine", exclude_input=self._exclude_input)
            if exchange is None:
                continue
            if len(self._exchanges) + len(accepted) >= self._limit:
                exchange.fail(Refusal(QUEUE_FULL_IN_ENGINE.format(limit=self._limit)))
            else:
                accepted.append(exchange)
        self._start(accepted)

    def finalize(self) -> None:
        """Stop the threads and the engine."""
        self._closing.set()
        self._decoder.close()
        for _ in self._repliers:
            self._done.put(None)
        for thread in self._threads:
            thread.join()
        self._watcher.communicate(FINISHED)

    def _start(self, accepted: list[Exchange]) -> None:
        # Together, so that the engine prefills a shared prefix once.
        futures = self._decoder.submit_many([exchange.request.prompt for exchange in accepted])
        for exchange, future in zip(accepted, futures, strict=True):
            self._exchanges[future] = exchange
            future.add_done_callback(self._done.put)

    def _reply(self) -> None:
        """Send responses outside the engine's threads, since a sender waits for the server."""
        while (future := self._done.get()) is not None:
            reply(self._exchanges.pop(future), future)

    def _watch_cancellation(self) -> None:
        """Cancel abandoned requests in the engine."""
        while not self._closing.wait(CANCELLATION_CHECK_PERIOD):
            now = time.monotonic()
            for future, exchange in self._exchanges.copy().items():
                if exchange.is_abandoned(now):
                    future.cancel()

"""TensorRT-LLM's ``tensorrt_llm`` model, answered by vLLM in Triton's python backend.

The twin of the CPU engine's model: names, shapes and words are those of ``stream.inference.contract``. The
engine runs in a process of its own; one thread here runs the event loop of its client.
"""

import asyncio
import gc
import json
import locale
import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

# The stub starts in the C locale, in which torch cannot be imported.
locale.setlocale(locale.LC_ALL, "C.UTF-8")

from engine import PromptLimits, Substrings, VllmOptions, cache_use, read_completion, sampling_arguments  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from vllm import SamplingParams  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # noqa: E402
from vllm.v1.engine.async_llm import AsyncLLM  # noqa: E402
from vllm.v1.engine.exceptions import EngineDeadError  # noqa: E402

from stream.generation import Completion, Prompt  # noqa: E402
from stream.inference.contract import NO_END, QUEUE_FULL_IN_ENGINE, CacheUse, Refusal  # noqa: E402
from stream.inference.python_backend import (  # noqa: E402
    CANCELLATION_CHECK_PERIOD,
    FINISHED,
    Exchange,
    end_process,
    prepare_process,
    take,
)

_WARM_UP = Prompt((0,), 2, NO_END)
_REPLIERS = 4  # each mostly waits for the server to take a response


class TritonPythonModel:
    """The class that Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine on the checkpoint that PADELLM_MODEL names."""
        self._watcher = prepare_process()
        config = json.loads(args["model_config"])
        self._limit = int(config["dynamic_batching"]["default_queue_policy"]["max_queue_size"])
        self._exclude_input = config["parameters"]["exclude_input_in_output"]["string_value"] == "true"
        options = VllmOptions.from_environment(os.environ)
        self._substrings = (
            Substrings(Tokenizer.from_file(str(options.model / "tokenizer.json")))
            if options.constrained
            else None
        )
        arguments = options.engine_arguments(on_cpu=current_platform.is_cpu())
        self._block: int = arguments["block_size"]
        self._exchanges: dict[asyncio.Task[None], Exchange] = {}
        self._numbers = iter(range(2**63))
        self._closing = Event()
        self._repliers = ThreadPoolExecutor(_REPLIERS)
        self._loop = asyncio.new_event_loop()
        self._threads = [Thread(target=self._loop.run_forever), Thread(target=self._watch)]
        self._threads[0].start()
        self._engine = asyncio.run_coroutine_threadsafe(self._open(arguments), self._loop).result()
        model = self._engine.model_config
        self._limits = PromptLimits(model.get_vocab_size(), model.max_model_len)
        # What vLLM compiles with the first prompt takes longer than a health check waits.
        asyncio.run_coroutine_threadsafe(self._generate(_WARM_UP), self._loop).result()
        self._threads[1].start()
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        """Queue the requests; Triton takes ``None`` for a promise that their senders will respond."""
        accepted: list[Exchange] = []
        for request in requests:
            exchange = take(
                request, engine="vLLM engine", exclude_input=self._exclude_input, perf_metrics=True
            )
            if exchange is None:
                continue
            try:
                self._limits.check(exchange.request.prompt)
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

    async def _open(self, arguments: dict[str, Any]) -> AsyncLLM:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

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
            completion, cache = await self._generate(exchange.request.prompt)
        except asyncio.CancelledError:
            self._repliers.submit(exchange.cancel)
        except EngineDeadError as error:
            end_process(error)
        except Exception as error:  # noqa: BLE001 - the failure of one request is no other's
            # vLLM wraps what it did not expect in an error without words.
            self._repliers.submit(exchange.fail, error.__cause__ or error)
        else:
            self._repliers.submit(exchange.answer, completion, cache)

    async def _generate(self, prompt: Prompt) -> tuple[Completion, CacheUse]:
        grammar = self._substrings.grammar(prompt) if self._substrings else None
        sampling = SamplingParams(
            **sampling_arguments(prompt),
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        )
        ids = {"prompt_token_ids": list(prompt.ids)}
        output = None
        async for output in self._engine.generate(ids, sampling, str(next(self._numbers))):  # noqa: B007 - the last
            pass
        if output is None:
            raise RuntimeError("vLLM ended without an answer")
        answer = output.outputs[0]
        completion = read_completion(prompt, answer.token_ids, answer.logprobs)
        return completion, cache_use(prompt, output.num_cached_tokens or 0, self._block)

    def _watch(self) -> None:
        """Cancel abandoned requests, and end with an engine that died, also while nothing is asked of it."""
        while not self._closing.wait(CANCELLATION_CHECK_PERIOD):
            if self._engine.errored:
                end_process("the engine of vLLM has died")
            now = time.monotonic()
            for task, exchange in self._exchanges.copy().items():
                if exchange.is_abandoned(now):
                    self._loop.call_soon_threadsafe(task.cancel)

"""gRPC client of a Triton server's ``tensorrt_llm`` model, with any backend behind it.

Every request carries the same inputs, since Triton batches only requests with equal sets of inputs. Tensors
are INT32, BOOL and FP32; shared memory is not used. Requests are built from tritonclient's generated protocol
classes, with one template per kind of prompt: 5 µs each, where its ``InferInput`` objects take 45.
"""

import asyncio
import time
from array import array
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from stream.errors import InferenceTimeout, InferenceUnavailable
from stream.generation import Completion, ModelStamp, Prompt
from stream.inference.answer import OUTPUTS, read_answer
from stream.inference.contract import encode_word_list
from stream.inference.faults import kind_of_fault
from stream.inference.grpc_generator import GrpcGenerator
from stream.inference.repository import STAMP

MODEL_NAME = "tensorrt_llm"
_READY_DEADLINE = 2.0
# Seconds for which a server serves the model that it named: one that is replaced is away for longer.
_STAMP_AGE = 1.0
_STAMP_DEADLINE = 10.0


class TritonGenerator(GrpcGenerator):
    """A ``stream.generation.Generator`` over one Triton server."""

    kind = "Triton"
    breaches = f"the contract of the model {MODEL_NAME}"
    _served: ModelStamp | None = None
    _stamped_at = float("-inf")
    _stamping: asyncio.Task[ModelStamp | None] | None = None

    def _speak(self, channel: grpc.aio.Channel) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def _says_ready(self) -> bool:
        server = await self._stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=_READY_DEADLINE)
        asked = service_pb2.ModelReadyRequest(name=MODEL_NAME)
        model = await self._stub.ModelReady(asked, timeout=_READY_DEADLINE)
        return bool(server.ready and model.ready)

    async def _ask(self, prompt: Prompt, request_id: str, call: Mapping[str, Any]) -> Completion:
        model = await self._model()
        response = await self._stub.ModelInfer(_request(prompt, request_id), **call)
        completion = read_answer(response, request_id=request_id, most=prompt.max_new_tokens)
        return completion if model is None else replace(completion, model=model)

    async def _model(self) -> ModelStamp | None:
        """Return the stamp of the server's model; all prompts that meet an old one ask once together.

        Raises:
            InferenceUnavailable: The server is not there.
        """
        if time.monotonic() - self._stamped_at < _STAMP_AGE:
            return self._served
        if self._stamping is None:
            self._stamping = asyncio.create_task(self._ask_model())
        return await asyncio.shield(self._stamping)

    async def _ask_model(self) -> ModelStamp | None:
        request = service_pb2.ModelConfigRequest(name=MODEL_NAME)
        try:
            config = (await self._stub.ModelConfig(request, timeout=_STAMP_DEADLINE)).config
        except grpc.aio.AioRpcError as error:
            kind, details = kind_of_fault(error.code(), error.details() or ""), error.details()
            if issubclass(kind, InferenceUnavailable | InferenceTimeout):
                raise InferenceUnavailable(
                    f"{self._server} does not say its model: {self.trouble or details}"
                ) from error
            self._served = None
        else:
            self._served = stamp_in(config)
        finally:
            self._stamping = None
        self._stamped_at = time.monotonic()
        return self._served

    def _forget_model(self) -> None:
        self._stamped_at = float("-inf")


def stamp_in(config: Any) -> ModelStamp | None:
    """Read the stamp among the parameters of a model's configuration."""
    stated = {name: config.parameters[name].string_value for name in STAMP if name in config.parameters}
    if not stated.get(STAMP[0]):
        return None
    return ModelStamp(*(stated.get(name, "") for name in STAMP))


def _request(prompt: Prompt, request_id: str) -> Any:
    """Build a ModelInferRequest: the template of the prompt's kind, and its ids."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(_template(prompt.max_new_tokens, prompt.end_id, prompt.stop_ids))
    request.id = request_id
    length = len(prompt.ids)
    request.inputs[-1].shape[1] = length
    request.raw_input_contents.append(array("i", (length,)).tobytes())
    request.raw_input_contents.append(array("i", prompt.ids).tobytes())
    return request


@lru_cache(maxsize=256)
def _template(max_new_tokens: int, end_id: int, stop_ids: tuple[int, ...]) -> Any:
    """Build a request without ids: ``input_lengths`` and ``input_ids`` come last and have no contents."""
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME)
    words, ends = encode_word_list(stop_ids)

    def declare(name: str, datatype: str, *shape: int) -> None:
        request.inputs.add(name=name, datatype=datatype, shape=shape)

    def integers(name: str, values: list[int], *shape: int) -> None:
        declare(name, "INT32", *shape)
        request.raw_input_contents.append(array("i", values).tobytes())

    def true(name: str) -> None:
        declare(name, "BOOL", 1, 1)
        request.raw_input_contents.append(b"\x01")

    integers("request_output_len", [max_new_tokens], 1, 1)
    integers("end_id", [end_id], 1, 1)
    integers("stop_words_list", words + ends, 1, 2, len(words))
    # Greedy; TensorRT-LLM computes log-probabilities only where a sampling parameter is set.
    integers("runtime_top_k", [1], 1, 1)
    true("return_log_probs")
    true("exclude_input_in_output")
    declare("input_lengths", "INT32", 1, 1)
    declare("input_ids", "INT32", 1, 0)
    for name in OUTPUTS:
        request.outputs.add(name=name)
    return request

"""A gRPC server in this process that speaks Triton's protocol; a script answers for the model."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from stream.generation import Completion, Prompt
from stream.inference.contract import decode_word_list

Script = Callable[[Prompt], Awaitable[Completion | service_pb2.ModelInferResponse]]


@dataclass
class Refusal(Exception):  # noqa: N818 - names what it is
    """An answer that is a gRPC status with words."""

    code: grpc.StatusCode
    words: str


def prompt_of(request: service_pb2.ModelInferRequest) -> Prompt:
    """The prompt that a request of our client carries."""
    tensors = {
        tensor.name: array("i", content)
        for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True)
        if tensor.datatype == "INT32"
    }
    words = tensors["stop_words_list"]
    half = len(words) // 2
    return Prompt(
        ids=tuple(tensors["input_ids"]),
        max_new_tokens=tensors["request_output_len"][0],
        end_id=tensors["end_id"][0],
        stop_ids=tuple(word[0] for word in decode_word_list(words[:half].tolist(), words[half:].tolist())),
    )


def response_of(completion: Completion) -> service_pb2.ModelInferResponse:
    """The response that carries a completion, as the contract has it."""
    response = service_pb2.ModelInferResponse(model_name="tensorrt_llm")
    length = len(completion.ids)
    for name, datatype, shape, content in (
        ("output_ids", "INT32", (1, 1, length), array("i", completion.ids)),
        ("sequence_length", "INT32", (1, 1), array("i", (length,))),
        ("output_log_probs", "FP32", (1, 1, length), array("f", completion.log_probs)),
    ):
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(content.tobytes())
    return response


class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers as its script says.

    Attributes:
        script: Answers a prompt, or raises ``Refusal``.
        request_ids: Those of the calls so far.
        metadata: That of the calls so far.
        is_ready: The answer of both health calls.
        inputs: Datatype of each tensor that the model declares to take.
        outputs: The same of those that it gives.
        parameters: Those of the model's configuration.
        port: Where it listens, on loopback; kept over ``stop`` and ``start``.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.request_ids: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self.is_ready = True
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.parameters: dict[str, str] = {}
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def ModelInfer(  # noqa: N802 - the protocol's name
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        """Answer one prompt."""
        self.request_ids.append(request.id)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        try:
            answer = await self.script(prompt_of(request))
        except Refusal as refusal:
            await context.abort(refusal.code, refusal.words)
        return response_of(answer) if isinstance(answer, Completion) else answer

    async def ServerReady(self, request: object, context: object) -> object:  # noqa: N802 - the protocol's
        """As ``is_ready`` says."""
        return service_pb2.ServerReadyResponse(ready=self.is_ready)

    async def ModelReady(self, request: object, context: object) -> object:  # noqa: N802 - the protocol's
        """As ``is_ready`` says."""
        return service_pb2.ModelReadyResponse(ready=self.is_ready)

    async def ModelMetadata(self, request: object, context: object) -> object:  # noqa: N802 - the protocol's
        """The declared tensors."""
        metadata = service_pb2.ModelMetadataResponse(name="tensorrt_llm")
        for tensors, declared in ((metadata.inputs, self.inputs), (metadata.outputs, self.outputs)):
            for name, datatype in declared.items():
                tensors.add(name=name, datatype=datatype)
        return metadata

    async def ModelConfig(self, request: object, context: object) -> object:  # noqa: N802 - the protocol's
        """The parameters."""
        response = service_pb2.ModelConfigResponse()
        for name, value in self.parameters.items():
            response.config.parameters[name].string_value = value
        return response

    @property
    def url(self) -> str:
        """127.0.0.1:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def die(self) -> None:
        """Break all calls and connections off, as a server that is killed does."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)

    async def die_and_return(self, after: float) -> None:
        """Die, and be back after so many seconds."""
        await self.die()
        await asyncio.sleep(after)
        await self.start()


@asynccontextmanager
async def scripted_triton(script: Script) -> AsyncIterator[ScriptedTriton]:
    """One that serves."""
    triton = ScriptedTriton(script)
    await triton.start()
    try:
        yield triton
    finally:
        await triton.die()

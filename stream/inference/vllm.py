"""gRPC client of vLLM's own server, in the protocol of the SMG gateway.

One call continues one prompt of token ids: ``vllm_engine.proto`` of smg-grpc-proto. The server names its
model's folder and no hash of it, so completions bear no stamp. It takes requests without a bound:
``in_flight`` is the only one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio

from stream.errors import ConfigurationError, InferenceBreach
from stream.generation import Completion, Prompt
from stream.inference.answer import are_log_probabilities
from stream.inference.grpc_generator import GrpcGenerator

try:
    from smg_grpc_proto import vllm_engine_pb2, vllm_engine_pb2_grpc
except ImportError as error:
    raise ConfigurationError(
        "PADELLM_INFERENCE=vllm needs smg-grpc-proto: pip install 'padellm-stream[vllm]'"
    ) from error

_READY_DEADLINE = 2.0
# A request that the engine gave up, which is no answer.
_GIVEN_UP = frozenset({"abort", "error"})


class VllmGenerator(GrpcGenerator):
    """A ``stream.generation.Generator`` over one server of vLLM."""

    kind = "vLLM"
    breaches = "vLLM's protocol"

    def _speak(self, channel: grpc.aio.Channel) -> None:
        self._stub = vllm_engine_pb2_grpc.VllmEngineStub(channel)

    async def _says_ready(self) -> bool:
        asked = vllm_engine_pb2.HealthCheckRequest()
        return bool((await self._stub.HealthCheck(asked, timeout=_READY_DEADLINE)).healthy)

    async def _ask(self, prompt: Prompt, request_id: str, call: Mapping[str, Any]) -> Completion:
        parts = [part async for part in self._stub.Generate(request_for(prompt, request_id), **call)]
        if len(parts) != 1 or not parts[0].HasField("complete"):
            raise InferenceBreach(f"{len(parts)} messages came in place of one whole answer")
        return read_complete(parts[0].complete, prompt)


def request_for(prompt: Prompt, request_id: str) -> Any:
    """Build a GenerateRequest: greedy, with the log-probability of each token."""
    ends = [one for one in (prompt.end_id, *prompt.stop_ids) if one >= 0]
    return vllm_engine_pb2.GenerateRequest(
        request_id=request_id,
        tokenized=vllm_engine_pb2.TokenizedInput(input_ids=prompt.ids),
        sampling_params=vllm_engine_pb2.SamplingParams(
            temperature=0.0,
            top_p=1.0,
            repetition_penalty=1.0,
            n=1,
            max_tokens=prompt.max_new_tokens,
            stop_token_ids=ends,
            # The prompt says what ends an answer, and the checkpoint does not.
            ignore_eos=True,
            logprobs=0,
        ),
    )


def read_complete(complete: Any, prompt: Prompt) -> Completion:
    """Read a GenerateComplete: the ids without an end id, and their log-probabilities.

    Raises:
        InferenceBreach: It is not what was asked for; the message says in what.
    """
    if complete.finish_reason in _GIVEN_UP:
        raise InferenceBreach(f"the answer ended with {complete.finish_reason!r}")
    ids: Sequence[int] = complete.output_ids
    log_probs: Sequence[float] = complete.output_logprobs.token_logprobs
    if len(ids) > prompt.max_new_tokens:
        raise InferenceBreach(f"{len(ids)} tokens came, and {prompt.max_new_tokens} were asked for")
    if ids and ids[-1] == prompt.end_id:
        ids = ids[:-1]
    if len(log_probs) < len(ids):
        raise InferenceBreach(f"{len(ids)} tokens came with {len(log_probs)} log-probabilities")
    log_probs = log_probs[: len(ids)]
    if not are_log_probabilities(log_probs):
        raise InferenceBreach("a log-probability is no logarithm of a probability")
    return Completion(tuple(ids), tuple(log_probs))

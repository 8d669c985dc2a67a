"""The Triton server: its model's readiness, tensors and answers."""

from collections.abc import AsyncIterator, Iterable

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from stream.bundled import model_folder
from stream.doctor.finding import Finding, fail, ok
from stream.doctor.served_model import check_checkpoint, check_served_model
from stream.errors import ConfigurationError
from stream.inference.addresses import resolve
from stream.inference.grpc_generator import connection_trouble, tls_of_servers
from stream.inference.triton import MODEL_NAME, TritonGenerator
from stream.settings import Settings

# Tensors that the client sends and reads (stream.inference.triton).
_INPUTS = {
    "input_ids": "INT32",
    "input_lengths": "INT32",
    "request_output_len": "INT32",
    "end_id": "INT32",
    "stop_words_list": "INT32",
    "runtime_top_k": "INT32",
    "return_log_probs": "BOOL",
    "exclude_input_in_output": "BOOL",
}
_OUTPUTS = {"output_ids": "INT32", "sequence_length": "INT32", "output_log_probs": "FP32"}
_LOAD_MODEL = "start this server with the model repository triton_models/cpu, or with the TensorRT-LLM engine"
_START = "start it with padellm up, set PADELLM_TRITON_URL=host:port, or PADELLM_INFERENCE=in-process"
_DEADLINE = 5.0


async def check_triton(settings: Settings) -> AsyncIterator[Finding]:
    """Check each server: that the model is ready, has the contract's tensors, and answers as it should."""
    tls = tls_of_servers(settings)
    try:
        credentials = grpc.ssl_channel_credentials(*tls.pem()) if tls is not None else None
    except ConfigurationError as error:
        yield fail("triton", str(error), "correct the setting or the file that it names")
        return
    try:
        addresses = await resolve(settings.triton_url)
    except OSError as error:
        found = f"{settings.triton_url} cannot be resolved: {error.strerror or error}"
        yield fail("triton", found, "correct PADELLM_TRITON_URL, or the name's entry in the DNS")
        return
    for address in addresses:
        options = () if address.host is None else (("grpc.ssl_target_name_override", address.host),)
        client = InferenceServerClient(
            address.url, ssl=tls is not None, creds=credentials, channel_args=options
        )
        generator = TritonGenerator(address.url, host=address.host, tls=tls)
        try:
            async for finding in _check_server(address.url, client, generator, settings):
                yield finding
        except InferenceServerException as error:
            trouble = await connection_trouble(address.url, tls)
            yield fail("triton", f"{address.url}: {trouble or error.message()}", _START)
        finally:
            await generator.close()
            await client.close()


async def _check_server(
    url: str, client: InferenceServerClient, generator: TritonGenerator, settings: Settings
) -> AsyncIterator[Finding]:
    ready = await client.is_model_ready(MODEL_NAME, client_timeout=_DEADLINE)
    if not ready:
        yield fail("triton", f"no model {MODEL_NAME} ready at {url}", _LOAD_MODEL)
        return
    yield ok("triton", f"model {MODEL_NAME} ready at {url}")
    metadata = await client.get_model_metadata(MODEL_NAME, client_timeout=_DEADLINE)
    yield _tensors("triton inputs", _INPUTS, metadata.inputs)
    yield _tensors("triton outputs", _OUTPUTS, metadata.outputs)
    model = model_folder(settings.model)
    # First: all that follows from another checkpoint would hide it.
    if checkpoint := await check_checkpoint(client, model):
        yield checkpoint
    async for finding in check_served_model(generator, model, "triton"):
        yield finding


def _tensors(subject: str, expected: dict[str, str], declared: Iterable[object]) -> Finding:
    found = {tensor.name: tensor.datatype for tensor in declared}  # type: ignore[attr-defined]  # protobuf
    wrong = [f"{name} {found.get(name, 'missing')}" for name in expected if found.get(name) != expected[name]]
    if wrong:
        names = ", ".join(wrong)
        return fail(subject, f"differ from the contract: {names}", "serve triton_models/ of this version")
    return ok(subject, f"{len(expected)} as in the contract")

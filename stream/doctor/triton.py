"""The Triton server: its model's readiness, tensors and answers."""

import time
from collections.abc import AsyncIterator, Iterable

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from stream.bundled import model_folder
from stream.doctor.finding import Finding, fail, ok
from stream.doctor.served_model import check_served_model
from stream.errors import ConfigurationError, InferenceError
from stream.inference.triton import MODEL_NAME, TritonGenerator, connection_trouble, tls_of_triton
from stream.ner.template import PromptTemplate
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
_TEXT = "Angela Merkel visited Paris."
_DEADLINE = 5.0


async def check_triton(settings: Settings) -> AsyncIterator[Finding]:
    """Check that the model is ready, has the contract's tensors, and answers a prompt."""
    tls = tls_of_triton(settings)
    try:
        credentials = grpc.ssl_channel_credentials(*tls.pem()) if tls is not None else None
    except ConfigurationError as error:
        yield fail("triton", str(error), "correct the setting or the file that it names")
        return
    client = InferenceServerClient(settings.triton_url, ssl=tls is not None, creds=credentials)
    try:
        ready = await client.is_model_ready(MODEL_NAME, client_timeout=_DEADLINE)
        if not ready:
            yield fail("triton", f"no model {MODEL_NAME} ready at {settings.triton_url}", _LOAD_MODEL)
            return
        yield ok("triton", f"model {MODEL_NAME} ready at {settings.triton_url}")
        metadata = await client.get_model_metadata(MODEL_NAME, client_timeout=_DEADLINE)
        yield _tensors("triton inputs", _INPUTS, metadata.inputs)
        yield _tensors("triton outputs", _OUTPUTS, metadata.outputs)
        answer = await _answer(settings)
        yield answer
        if not answer.fix:
            generator = TritonGenerator(settings.triton_url, tls=tls)
            try:
                async for finding in check_served_model(client, generator, model_folder(settings.model)):
                    yield finding
            finally:
                await generator.close()
    except InferenceServerException as error:
        fix = "start it with padellm up, set PADELLM_TRITON_URL=host:port, or PADELLM_INFERENCE=in-process"
        trouble = await connection_trouble(settings.triton_url, tls)
        yield fail("triton", f"{settings.triton_url}: {trouble or error.message()}", fix)
    finally:
        await client.close()


def _tensors(subject: str, expected: dict[str, str], declared: Iterable[object]) -> Finding:
    found = {tensor.name: tensor.datatype for tensor in declared}  # type: ignore[attr-defined]  # protobuf
    wrong = [f"{name} {found.get(name, 'missing')}" for name in expected if found.get(name) != expected[name]]
    if wrong:
        names = ", ".join(wrong)
        return fail(subject, f"differ from the contract: {names}", "serve triton_models/ of this version")
    return ok(subject, f"{len(expected)} as in the contract")


async def _answer(settings: Settings) -> Finding:
    """Send one real prompt."""
    template = PromptTemplate.load(model_folder(settings.model))
    label = template.encode_text(template.label_text(template.config.default_labels[0])).ids
    prompt = template.count_prompt(template.prefix_ids(template.encode_text(_TEXT).ids), label)
    generator = TritonGenerator(settings.triton_url, tls=tls_of_triton(settings))
    started = time.perf_counter()
    try:
        await generator.generate(prompt)
    except InferenceError as error:
        return fail(
            "triton answer", str(error), "see Triton's log; `padellm up` keeps it in .padellm/logs/triton.log"
        )
    finally:
        await generator.close()
    took = f"a count prompt took {(time.perf_counter() - started) * 1000:.0f} ms"
    return ok("triton answer", took)

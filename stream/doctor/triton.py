"""The Triton server: whether the model is there, keeps to the contract, and answers."""

import time
from collections.abc import AsyncIterator, Iterable

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from stream.bundled import model_folder
from stream.doctor.finding import Finding, fail, ok, warn
from stream.errors import InferenceError
from stream.inference.triton import TritonGenerator
from stream.ner.template import PromptTemplate
from stream.settings import Settings

# What the client sends and reads (stream.inference.triton).
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
_HOW_TO_LOAD = (
    "put the model repository (triton_models/) where this server reads, or set PADELLM_TRITON_MODEL"
)
_TEXT = "Angela Merkel visited Paris."
_DEADLINE = 5.0


async def check_triton(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the model is ready, its tensors are the contract's, and a prompt is answered."""
    client = InferenceServerClient(settings.triton_url)
    try:
        ready = await client.is_model_ready(settings.triton_model, client_timeout=_DEADLINE)
        if not ready:
            yield fail(
                "triton", f"no model {settings.triton_model} ready at {settings.triton_url}", _HOW_TO_LOAD
            )
            return
        yield ok("triton", f"model {settings.triton_model} ready at {settings.triton_url}")
        metadata = await client.get_model_metadata(settings.triton_model, client_timeout=_DEADLINE)
        yield _tensors("triton inputs", _INPUTS, metadata.inputs)
        yield _tensors("triton outputs", _OUTPUTS, metadata.outputs)
        yield await _answer(settings)
    except InferenceServerException as error:
        mend = "start it with padellm up, set PADELLM_TRITON_URL=host:port, or PADELLM_INFERENCE=in-process"
        yield fail("triton", f"{settings.triton_url}: {error.message()}", mend)
    finally:
        await client.close()


def _tensors(subject: str, expected: dict[str, str], declared: Iterable[object]) -> Finding:
    found = {tensor.name: tensor.datatype for tensor in declared}  # type: ignore[attr-defined]  # protobuf
    wrong = [f"{name} {found.get(name, 'missing')}" for name in expected if found.get(name) != expected[name]]
    if wrong:
        names = ", ".join(wrong)
        return fail(subject, f"not as the contract has them: {names}", "serve triton_models/ of this version")
    return ok(subject, f"{len(expected)} as the contract has them")


async def _answer(settings: Settings) -> Finding:
    """One real prompt."""
    template = PromptTemplate.load(model_folder(settings.model))
    label = template.encode_text(template.label_text(template.config.default_labels[0])).ids
    prompt = template.count_prompt(template.prefix_ids(template.encode_text(_TEXT).ids), label)
    generator = TritonGenerator(settings.triton_url, model=settings.triton_model)
    started = time.perf_counter()
    try:
        completion = await generator.generate(prompt)
    except InferenceError as error:
        return fail(
            "triton answer", str(error), "see Triton's log; `padellm up` keeps it in .padellm/logs/triton.log"
        )
    finally:
        await generator.close()
    took = f"a count prompt took {(time.perf_counter() - started) * 1000:.0f} ms"
    if template.parse_count(completion.ids) is None:
        return fail(
            "triton answer",
            f"{took} and answered no count",
            "Triton serves another model than the worker's tokenizer and template (PADELLM_MODEL)",
        )
    if completion.log_probs and not any(completion.log_probs):
        return warn(
            "triton answer", f"{took}; every log-probability is 0", "set normalize_log_probs to false"
        )
    return ok("triton answer", took)

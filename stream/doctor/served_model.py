"""The model behind a server: its checkpoint, ends, lengths, and answers beside those of the engine here."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tritonclient.grpc.aio import InferenceServerClient

from stream.bundled import sample_documents
from stream.doctor.finding import Finding, fail, ok, warn
from stream.errors import InferenceError, InferenceRejected, InferenceUnavailable
from stream.fingerprint import checkpoint_sha256
from stream.generation import Completion, Generator, ModelStamp, Prompt
from stream.inference.triton import MODEL_NAME, stamp_in
from stream.ner.config import NerConfig
from stream.ner.template import PromptTemplate

_DOCUMENTS = 10
# 16-bit products change a token now and then; another model changes most.
_SAME_ANSWERS = 0.95
# The engine here is for models of millions of weights.
_LARGEST_REFERENCE = 1 << 30
_LONG = 1024  # tokens
_TIMES = 3
_LEAST_READING = 0.3  # of the time of a short prompt, that the tokens of a long one must take to be seen
_LEAST_SAVED = 0.5  # of that
_OTHER_MODEL = "serve the folder that PADELLM_MODEL names, or set PADELLM_MODEL to the one that is served"


async def check_checkpoint(client: InferenceServerClient, model: Path) -> Finding | None:
    """Compare the checkpoint that a server states with the worker's; None where it states none.

    Args:
        client: Of the server.
        model: The worker's model folder.
    """
    served = stamp_in((await client.get_model_config(MODEL_NAME)).config)
    if served is None:
        return None
    config = NerConfig.load(model)
    own = ModelStamp(await asyncio.to_thread(checkpoint_sha256, model), config.name, config.version)
    subject = "triton checkpoint"
    if served.checkpoint == own.checkpoint:
        return ok(subject, f"the server has this model ({own.checkpoint[:12]})")
    renewed = served.name == own.name and served.version != own.version
    return fail(
        subject,
        f"the server has another {'version' if renewed else 'checkpoint'}: {_described(served)}; "
        f"PADELLM_MODEL is {_described(own)}",
        f"{_OTHER_MODEL}; an engine of TensorRT-LLM is built anew with deploy/engine/build_engine.sh",
    )


async def check_served_model(generator: Generator, model: Path, server: str) -> AsyncIterator[Finding]:
    """Check what a server answers, to one prompt and then to prompts of sample documents.

    Args:
        generator: The client that the worker uses.
        model: The worker's model folder.
        server: What the subjects call the server.
    """
    async for finding in _findings(generator, model):
        yield replace(finding, subject=f"{server} {finding.subject}")


async def _findings(generator: Generator, model: Path) -> AsyncIterator[Finding]:
    template = PromptTemplate.load(model)
    prompts = list(_prompts(template))
    try:
        took = await _seconds(generator, prompts[0])
        yield ok("answer", f"a count prompt took {took * 1000:.0f} ms")
    except InferenceError as error:
        yield fail("answer", str(error), "see its log; that of `padellm up` is .padellm/logs/triton.log")
        return
    try:
        completions = await asyncio.gather(*map(generator.generate, prompts))
    except InferenceError as error:
        yield fail("answers", str(error), "see its log")
        return
    finding = _answers(template, completions)
    yield finding
    if finding.fix:
        return
    yield await _ends(generator, template, prompts, completions)
    longest = json.loads((model / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    yield await _length(generator, longest, prompts[0])
    yield await _reuse(generator, template, min(_LONG, longest // 2))
    yield await _reference(model, prompts, completions)


def _described(stamp: ModelStamp) -> str:
    return " ".join(part for part in (stamp.name, stamp.version, f"({stamp.checkpoint[:12]})") if part)


def _prompts(template: PromptTemplate) -> Iterator[Prompt]:
    """Count prompts of sample documents, one for each default label."""
    labels = [template.encode_text(template.label_text(name)).ids for name in template.config.default_labels]
    with sample_documents().open(encoding="utf-8") as lines:
        for line in islice(lines, _DOCUMENTS):
            prefix = template.prefix_ids(template.encode_text(json.loads(line)["text"]).ids)
            yield from (template.count_prompt(prefix, label) for label in labels)


def _answers(template: PromptTemplate, completions: Sequence[Completion]) -> Finding:
    subject = "answers"
    counts = [template.parse_count(completion.ids) for completion in completions]
    if None in counts:
        found = f"{counts.count(None)} of {len(counts)} answers to count prompts are no count"
        return fail(subject, found, f"the server has another model or tokenizer: {_OTHER_MODEL}")
    if not any(log_prob for completion in completions for log_prob in completion.log_probs):
        return warn(
            subject, "every log-probability is 0, so all scores are 1", "set normalize_log_probs to false"
        )
    return ok(subject, f"{len(counts)} count prompts answered with counts and log-probabilities")


async def _ends(
    generator: Generator,
    template: PromptTemplate,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
) -> Finding:
    """Ask for the mentions that were counted: unlike a count, they have no length of their own."""
    counts = [template.parse_count(completion.ids) or 0 for completion in completions]
    asked = [
        template.mention_prompt(prompt, count, 1)
        for prompt, count in zip(prompts, counts, strict=True)
        if count > 0
    ]
    mentions = await asyncio.gather(*map(generator.generate, asked))
    endless = sum(
        len(each.ids) == prompt.max_new_tokens for prompt, each in zip(asked, mentions, strict=True)
    )
    if endless * 2 > len(asked):
        found = f"{endless} of {len(asked)} mentions go on to the limit, past the end id {template.end_id}"
        return fail("ends", found, f"the server heeds another end id: {_OTHER_MODEL}")
    return ok("ends", f"{len(asked)} mentions end by themselves")


async def _length(generator: Generator, longest: int, prompt: Prompt) -> Finding:
    """Send a prompt that by itself is longer than the model: only a server that truncates answers it."""
    subject, length = "length", longest + 1
    try:
        await generator.generate(Prompt(prompt.ids[:1] * length, 1, prompt.end_id))
    except InferenceRejected:
        return ok(subject, f"a prompt of {length} tokens is refused, not cut")
    except InferenceError as error:
        return warn(subject, f"a prompt of {length} tokens: {error}", "see its log")
    return fail(
        subject,
        f"a prompt of {length} tokens is longer than the model, and gets an answer: the server cuts prompts",
        "serve the model with the length of its config.json, and without truncation",
    )


async def _reuse(generator: Generator, template: PromptTemplate, length: int) -> Finding:
    """Ask about a new long text twice: the second prompt's tokens are in the cache but for the last ones.

    The shortest of several times counts, since others at the server make it only longer.
    """
    subject = "reuse"
    with sample_documents().open(encoding="utf-8") as lines:
        known = template.encode_text(" ".join(json.loads(line)["text"] for line in lines)).ids
    labels = [template.encode_text(template.label_text(name)).ids for name in template.config.default_labels]
    short, first, second = [], [], []
    try:
        for _ in range(_TIMES):
            prefix = template.prefix_ids(random.sample(known, length))  # in an order that no cache has seen
            short.append(await _seconds(generator, template.count_prompt((), labels[0])))
            first.append(await _seconds(generator, template.count_prompt(prefix, labels[0])))
            second.append(await _seconds(generator, template.count_prompt(prefix, labels[-1])))
    except InferenceError as error:
        return warn(subject, f"a prompt of {length} tokens: {error}", "see its log")
    reading, saved = min(first) - min(short), min(first) - min(second)
    took = (
        f"a prompt of {length} tokens takes {min(first) * 1000:.0f} ms, "
        f"a second one about the same text {min(second) * 1000:.0f} ms"
    )
    if reading < min(short) * _LEAST_READING:
        return ok(subject, f"not to be seen, as it is read so fast: {took}")
    if saved < reading * _LEAST_SAVED:
        fix = "turn on the reuse of the KV cache (enable_kv_cache_reuse, enable_prefix_caching)"
        return warn(
            subject, f"prefixes are not reused, so each text is read once for each prompt: {took}", fix
        )
    return ok(subject, took)


async def _seconds(generator: Generator, prompt: Prompt) -> float:
    """Time of an answer."""
    began = time.perf_counter()
    await generator.generate(prompt)
    return time.perf_counter() - began


async def _reference(model: Path, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Finding:
    """Compare the answers with those of the engine of this package, where it is installed."""
    subject = "reference"
    if await asyncio.to_thread(_bytes, model) > _LARGEST_REFERENCE:
        return ok(subject, "not compared: the model is too large for the engine of this package")
    try:
        from stream.inference.in_process import InProcessGenerator  # noqa: PLC0415 - an extra
    except ImportError:
        return ok(subject, "not compared: the CPU engine is not installed here")
    engine = await asyncio.to_thread(InProcessGenerator.load, model)
    try:
        expected = await asyncio.gather(*map(engine.generate, prompts))
    except InferenceUnavailable as error:
        return warn(subject, f"not compared: {error}", "see padellm extract with this model")
    finally:
        await engine.close()
    same = sum(one.ids == other.ids for one, other in zip(completions, expected, strict=True))
    found = f"{same} of {len(prompts)} answers are those of the engine of this package"
    if same < _SAME_ANSWERS * len(prompts):
        return fail(subject, found, f"the server has another model: {_OTHER_MODEL}")
    return ok(subject, found)


def _bytes(model: Path) -> int:
    """Size of a model's weights."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))

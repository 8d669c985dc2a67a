"""The doctor against a server: nothing to mend where all is right, and each planted fault by its name."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from stream.bundled import model_folder
from stream.doctor.triton import _INPUTS, _OUTPUTS, check_triton
from stream.errors import InferenceRejected
from stream.fingerprint import checkpoint_sha256
from stream.generation import Completion, Prompt
from stream.inference.in_process import InProcessGenerator
from stream.ner.template import PromptTemplate
from stream.settings import Settings
from tests.inference.scripted_triton import Refusal, ScriptedTriton, scripted_triton

LONGEST = 2048
TEMPLATE = PromptTemplate.load(model_folder(None))


@pytest.fixture
async def triton() -> AsyncIterator[ScriptedTriton]:
    """A server in which our own engine answers for the bundled model."""
    engine = InProcessGenerator.load(model_folder(None))

    async def answer(prompt: Prompt) -> Completion:
        try:
            return await engine.generate(prompt)
        except InferenceRejected as error:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    async with scripted_triton(answer) as triton:
        triton.inputs, triton.outputs = dict(_INPUTS), dict(_OUTPUTS)
        triton.parameters = {"checkpoint_sha256": checkpoint_sha256(model_folder(None))}
        yield triton
    await engine.close()


def changing(triton, change):
    """Let each completion be changed on its way."""
    answer = triton.script

    async def changed(prompt):
        return change(await answer(prompt))

    triton.script = changed


def cut_prompts(triton):
    """Answer the beginning of a prompt that is too long."""
    answer = triton.script

    async def cut(prompt):
        return await answer(replace(prompt, ids=prompt.ids[:LONGEST]))

    triton.script = cut


def go_on(triton):
    """Heed no end id: answer up to the limit."""
    answer = triton.script

    async def endless(prompt):
        completion = await answer(prompt)
        more = prompt.max_new_tokens - len(completion.ids)
        return Completion((*completion.ids, *([9] * more)), (*completion.log_probs, *([-0.1] * more)))

    triton.script = endless


def break_down(triton):
    """Fail every prompt, and stay ready."""

    async def broken(_prompt):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "invalid device function")

    triton.script = broken


def forget(triton):
    """Read every long prompt from its start."""
    answer = triton.script

    async def forgetful(prompt):
        if not LONGEST // 4 < len(prompt.ids) < LONGEST:
            return await answer(prompt)
        await asyncio.sleep(0.5)
        return Completion(TEMPLATE.count_answer_ids(1), (-0.1,))

    triton.script = forgetful


FAULTS = {
    "wrong dtype": (lambda triton: triton.inputs.update(end_id="INT64"), "triton inputs", "end_id INT64"),
    "missing input": (lambda triton: triton.inputs.pop("stop_words_list"), "triton inputs", "missing"),
    "missing output": (lambda triton: triton.outputs.pop("output_log_probs"), "triton outputs", "missing"),
    "zero log-probabilities": (
        lambda triton: changing(triton, lambda each: replace(each, log_probs=(0.0,) * len(each.ids))),
        "triton answers",
        "every log-probability is 0",
    ),
    "short log-probabilities": (
        lambda triton: changing(triton, lambda each: replace(each, log_probs=each.log_probs[:-1])),
        "triton answer",
        "output_log_probs has 0 entries for 1 tokens",
    ),
    "another tokenizer": (
        lambda triton: changing(triton, lambda each: replace(each, ids=tuple(n + 100 for n in each.ids))),
        "triton answers",
        "are no count",
    ),
    "wrong end id": (go_on, "triton ends", "go on to the limit"),
    "truncating": (cut_prompts, "triton length", "cuts prompts"),
    "no reuse": (forget, "triton reuse", "prefixes are not reused"),
    "another checkpoint": (
        lambda triton: triton.parameters.update(checkpoint_sha256="0" * 64),
        "triton checkpoint",
        "another checkpoint",
    ),
    "stale version": (
        lambda triton: triton.parameters.update(
            checkpoint_sha256="0" * 64, checkpoint_name=TEMPLATE.config.name, checkpoint_version="1"
        ),
        "triton checkpoint",
        f"padellm-small-en 1 (000000000000); PADELLM_MODEL is padellm-small-en {TEMPLATE.config.version}",
    ),
    "ready but broken": (break_down, "triton answer", "invalid device function"),
    "another model": (
        lambda triton: changing(triton, lambda each: replace(each, ids=TEMPLATE.count_answer_ids(3))),
        "triton reference",
        "answers are those",
    ),
}


async def test_doctor_finds_nothing_to_mend_in_a_right_server(triton):
    """A server of this model, with its ends, lengths and answers, needs no fix."""
    findings = [finding async for finding in check_triton(Settings(triton_url=triton.url))]
    assert [finding for finding in findings if finding.fix] == []
    assert "40 of 40 answers" in findings[-1].found


async def test_doctor_asks_every_server():
    """Each of several servers has findings of its own, by its address."""

    async def answer(_prompt: Prompt) -> Completion:
        raise AssertionError("not asked")

    async with scripted_triton(answer) as one, scripted_triton(answer) as other:
        one.is_ready = other.is_ready = False
        findings = [each async for each in check_triton(Settings(triton_url=f"{one.url},{other.url}"))]
    assert [each.found.rpartition(" ")[2] for each in findings] == [one.url, other.url]


@pytest.mark.parametrize("fault", FAULTS)
async def test_doctor_finds_a_planted_fault(triton, fault):
    """Each fault is found under its subject, with a fix, before anything that follows from it."""
    plant, subject, words = FAULTS[fault]
    plant(triton)
    findings = [finding async for finding in check_triton(Settings(triton_url=triton.url))]
    first = next(finding for finding in findings if finding.fix)
    assert first.subject == subject
    assert words in first.found

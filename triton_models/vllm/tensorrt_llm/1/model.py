"""TensorRT-LLM's ``tensorrt_llm`` model, answered by vLLM in Triton's python backend.

vLLM's engine runs in a process of its own; its client runs on the model's event loop.
"""

import locale
import os
from typing import Any

# The stub starts in the C locale, in which torch cannot be imported.
locale.setlocale(locale.LC_ALL, "C.UTF-8")

from engine import engine_arguments, sampling_arguments  # noqa: E402
from vllm import SamplingParams  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # noqa: E402
from vllm.v1.engine.async_llm import AsyncLLM  # noqa: E402
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # noqa: E402

from stream.generation import Completion, Prompt  # noqa: E402
from stream.inference.contract import CacheUse  # noqa: E402
from stream.inference.engine_model import EngineModel  # noqa: E402
from stream.inference.gpu_options import GpuOptions  # noqa: E402
from stream.inference.substrings import Substrings  # noqa: E402
from stream.inference.token_engine import EngineDied, PromptLimits, cache_use, trimmed  # noqa: E402


class VllmEngine:
    """A ``TokenEngine`` over vLLM's ``AsyncLLM``.

    Args:
        options: What to serve, and how.
    """

    def __init__(self, options: GpuOptions) -> None:
        arguments = engine_arguments(options, on_cpu=current_platform.is_cpu())
        self._block: int = arguments["block_size"]
        self._substrings = Substrings.load(options.model) if options.constrained else None
        self._numbers = iter(range(2**63))
        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        model = self._engine.model_config
        self.limits = PromptLimits(model.get_vocab_size(), model.max_model_len)

    @property
    def dead(self) -> bool:
        """See ``TokenEngine``."""
        return bool(self._engine.errored)

    async def generate(self, prompt: Prompt) -> tuple[Completion, CacheUse]:
        """See ``TokenEngine``."""
        try:
            output = await self._output(prompt)
        except EngineDeadError as error:
            raise EngineDied(str(error)) from error
        except EngineGenerateError as error:
            raise error.__cause__ or error from error  # it has no words of its own
        answer = output.outputs[0]
        completion = trimmed(prompt, answer.token_ids, answer.logprobs)
        return completion, cache_use(prompt, output.num_cached_tokens or 0, self._block)

    def shutdown(self) -> None:
        """See ``TokenEngine``."""
        self._engine.shutdown()

    async def _output(self, prompt: Prompt) -> Any:
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
        return output


async def open_engine() -> VllmEngine:
    """Start vLLM on the checkpoint that PADELLM_MODEL names."""
    return VllmEngine(GpuOptions.from_environment(os.environ))


class TritonPythonModel(EngineModel):
    """The class that Triton's python backend looks for."""

    def __init__(self) -> None:
        super().__init__("vLLM engine", open_engine)

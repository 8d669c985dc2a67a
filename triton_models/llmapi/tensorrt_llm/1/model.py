"""TensorRT-LLM's ``tensorrt_llm`` model, answered by its LLM API in Triton's python backend.

For TensorRT-LLM 1.2: written from its documented signatures, and never run on a GPU.
"""

import asyncio
import json
import locale
import os
import tempfile
from dataclasses import replace
from pathlib import Path

# The stub starts in the C locale, in which torch cannot be imported.
locale.setlocale(locale.LC_ALL, "C.UTF-8")

from engine import BLOCK, engine_arguments, sampling_arguments  # noqa: E402
from older_config import write_view  # noqa: E402
from tensorrt_llm import LLM, SamplingParams  # noqa: E402
from tensorrt_llm.llmapi import GuidedDecodingParams, KvCacheConfig, RequestError  # noqa: E402

from stream.generation import Completion, Prompt  # noqa: E402
from stream.inference.contract import CacheUse  # noqa: E402
from stream.inference.engine_model import EngineModel  # noqa: E402
from stream.inference.gpu_options import GpuOptions  # noqa: E402
from stream.inference.substrings import Substrings  # noqa: E402
from stream.inference.token_engine import EngineDied, PromptLimits, cache_use, trimmed  # noqa: E402


class LlmApiEngine:
    """A ``TokenEngine`` over ``tensorrt_llm.LLM``.

    Args:
        options: What to serve, and how.
    """

    dead = False  # the API does not say; the next request does

    def __init__(self, options: GpuOptions) -> None:
        config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
        self.limits = PromptLimits(config["vocab_size"], config["max_position_embeddings"])
        self._substrings = Substrings.load(options.model) if options.constrained else None
        self._folder = tempfile.TemporaryDirectory(prefix="padellm-")
        # TensorRT-LLM reads the checkpoint through transformers 4.
        view = Path(self._folder.name) / "model"
        write_view(options.model, view)
        arguments = engine_arguments(replace(options, model=view), longest=self.limits.length)
        cache = KvCacheConfig(**arguments.pop("kv_cache_config"))
        self._llm = LLM(**arguments, kv_cache_config=cache)

    async def generate(self, prompt: Prompt) -> tuple[Completion, CacheUse]:
        """See ``TokenEngine``.

        TensorRT-LLM ends its engine with every error but those that it raises for a request.
        """
        grammar = self._substrings.grammar(prompt) if self._substrings else None
        sampling = SamplingParams(
            **sampling_arguments(prompt),
            guided_decoding=GuidedDecodingParams(grammar=grammar) if grammar else None,
        )
        try:
            result = self._llm.generate_async(list(prompt.ids), sampling)
            try:
                await result
            except asyncio.CancelledError:
                result.abort()
                raise
        except (RequestError, ValueError):
            raise
        except Exception as error:
            raise EngineDied(f"the engine of TensorRT-LLM has died: {error}") from error
        answer = result.outputs[0]
        return trimmed(prompt, answer.token_ids, answer.logprobs), cache_use(
            prompt, result.cached_tokens, BLOCK
        )

    def shutdown(self) -> None:
        """See ``TokenEngine``."""
        self._llm.shutdown()
        self._folder.cleanup()


async def open_engine() -> LlmApiEngine:
    """Start TensorRT-LLM on the checkpoint that PADELLM_MODEL names."""
    return LlmApiEngine(GpuOptions.from_environment(os.environ))


class TritonPythonModel(EngineModel):
    """The class that Triton's python backend looks for."""

    def __init__(self) -> None:
        super().__init__("TensorRT-LLM engine", open_engine)

"""Triton model of the ``tensorrt_llm`` contract that answers from the prompt's text, or as the text orders.

The orders are those of ``tests.integration.scripted_worker`` and, to answer amiss: ``ROWS`` (two rows for a
prompt), ``NAN`` (log-probabilities that are none), ``NOTHING`` (no token), ``MANY`` (a count of 10^6),
``ALIEN`` (tokens of another vocabulary), ``QUEUE-FULL-WHILE file`` and ``ENGINE-FULL-WHILE file`` (refused in
the words of Triton and of TensorRT-LLM while the file exists, which grows by a byte each time).
"""

import asyncio
import os
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from stream.bundled import model_folder
from stream.errors import InferenceUnavailable
from stream.generation import Completion, Prompt
from stream.inference.contract import QUEUE_FULL_IN_ENGINE, QUEUE_FULL_IN_TRITON, GenerationRequest
from stream.inference.python_backend import parse, response
from stream.settings import Settings
from tests.integration.scripted_worker import ScriptedGenerator

_FULL = {
    "QUEUE-FULL-WHILE": (QUEUE_FULL_IN_TRITON, "UNAVAILABLE"),
    "ENGINE-FULL-WHILE": (QUEUE_FULL_IN_ENGINE.format(limit=4), "INTERNAL"),
}
_NO_LOG_PROB = float("nan")
_ALIEN = 1_000_000


class TritonPythonModel:
    """The class that Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the template of the model that the settings name."""
        self._generator = ScriptedGenerator(model_folder(Settings().model))
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Answer each request when its text says so."""
        for request in requests:
            parsed = parse(request, engine="scripted engine")
            answering = self._answer(parsed, request.get_response_sender())
            asyncio.run_coroutine_threadsafe(answering, self._loop)

    def finalize(self) -> None:
        """Stop the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _answer(self, request: GenerationRequest, sender: Any) -> None:
        try:
            answer = await self._response(request)
        except InferenceUnavailable as error:
            answer = _error(error, "UNAVAILABLE")
        except Exception as error:  # noqa: BLE001 - as the backends answer any fault
            answer = _error(error, "INTERNAL")
        sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    async def _response(self, request: GenerationRequest) -> Any:
        prompt = request.prompt
        if len(prompt.ids) == 1:  # the client's question of whether all is well
            return response(request, Completion((), ()))
        words = self._generator._text(prompt).split()
        for order, argument in zip(words, [*words[1:], ""], strict=True):
            if order in _FULL and _counted_in(Path(argument)):
                return _error(*_FULL[order])
        completion = await self._generator.generate(prompt)
        if "ROWS" in words:
            return _two_rows(completion)
        return response(request, self._amiss(words, prompt, completion))

    def _amiss(self, words: list[str], prompt: Prompt, completion: Completion) -> Completion:
        """The completion as the text orders it."""
        length = len(completion.ids)
        if "NAN" in words:
            return Completion(completion.ids, (_NO_LOG_PROB,) * length)
        if "NOTHING" in words:
            return Completion((), ())
        if "ALIEN" in words:
            return Completion((_ALIEN,) * length, completion.log_probs)
        if "MANY" in words and self._generator._asks_for_person(prompt):
            ids = self._generator._template.encode_text("1000000").ids[: prompt.max_new_tokens]
            return Completion(tuple(ids), (-0.01,) * len(ids))
        return completion


def _counted_in(flag: Path) -> bool:
    """Return whether a file exists, and let it grow by a byte."""
    try:
        # Never opened so as to make it: a file deleted at this moment would be back, and stay.
        with flag.open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.write(".")
    except FileNotFoundError:
        return False
    return True


def _two_rows(completion: Completion) -> Any:
    ids = np.array([[completion.ids] * 2], np.int32)
    tensors = {
        "output_ids": ids,
        "sequence_length": np.array([[len(completion.ids)] * 2], np.int32),
        "output_log_probs": np.zeros(ids.shape, np.float32),
    }
    return pb_utils.InferenceResponse([pb_utils.Tensor(*each) for each in tensors.items()])


def _error(error: object, code: str) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(str(error) or repr(error), getattr(pb_utils.TritonError, code))
    )

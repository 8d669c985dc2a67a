"""What the models in Triton's python backend share, with stand-ins for the server."""

import subprocess
import threading
import time
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import numpy as np

from stream.generation import Completion
from stream.inference.contract import STREAMING_REFUSED, CacheUse
from tests.triton_models.stub import REQUEST, Request, Sender

_INPUTS = {
    "input_ids": np.array([[1, 2, 3]], np.int32),
    "input_lengths": np.array([[3]], np.int32),
    "request_output_len": np.array([[4]], np.int32),
    "return_perf_metrics": np.array([[True]]),
}


def test_python_backend_calls_no_sender_during_or_after_its_response(python_backend: ModuleType) -> None:
    """Cancellation is checked before the response leaves, or never: Triton would crash."""
    sender = Sender()
    exchange = python_backend.Exchange(REQUEST, sender)
    looking = threading.Thread(target=exchange.is_abandoned, args=(time.monotonic() + 1,))
    looking.start()
    sender.asked.wait()
    exchange.answer(Completion((3,), (0.0,)))
    looking.join()
    assert not exchange.is_abandoned(time.monotonic() + 100)
    assert sender.notes == ["asked", "told", "sent"]


def test_python_backend_checks_old_requests_less_often(python_backend: ModuleType) -> None:
    """The first check comes after a tenth of a second, the next ones at twice that age or .5 s later."""
    sender = Sender()
    exchange = python_backend.Exchange(REQUEST, sender)
    began = time.monotonic()
    looks = []
    for tenth in range(1, 60):
        before = len(sender.notes)
        exchange.is_abandoned(began + tenth / 10 + 0.05)
        if len(sender.notes) > before:
            looks.append(tenth)
    assert looks[:3] == [1, 3, 7]
    assert all(later - earlier in (5, 6) for earlier, later in pairwise(looks[2:]))


def test_python_backend_answers_what_cannot_be_served(python_backend: ModuleType) -> None:
    """A request that is refused, or cannot be read at all, gets its reason at once, and no other suffers."""
    streaming = Request(**_INPUTS, streaming=np.array([[True]]))
    several = Request(**_INPUTS, beam_width=np.array([[4]]))
    broken = Request(**{**_INPUTS, "request_output_len": None})
    exchanges = [
        python_backend.take(each, engine="engine", perf_metrics=True) for each in (streaming, several, broken)
    ]
    assert exchanges == [None, None, None]
    errors = [each.sender.responses[0]["error"] for each in (streaming, several, broken)]
    assert [error.code for error in errors] == ["INTERNAL", "UNSUPPORTED", "INTERNAL"]
    assert str(errors[0]) == STREAMING_REFUSED
    assert "beam_width" in str(errors[1])


def test_python_backend_counts_blocks_where_the_engine_does(python_backend: ModuleType) -> None:
    """Blocks of the cache come back from an engine that counts them; another one refuses to."""
    wanted = ("output_ids", "sequence_length", "kv_cache_reused_blocks", "kv_cache_alloc_total_blocks")
    counted, refused = Request(wanted, **_INPUTS), Request(wanted, **_INPUTS)
    exchange = python_backend.take(counted, engine="engine", perf_metrics=True)
    exchange.answer(Completion((7,), (0.0,)), CacheUse(reused=2, total=3))
    assert {
        name: array.tolist() for name, array in counted.sender.responses[0].items() if name != "error"
    } == {
        "output_ids": [[[7]]],
        "sequence_length": [[1]],
        "kv_cache_reused_blocks": [[2]],
        "kv_cache_alloc_total_blocks": [[3]],
    }
    assert python_backend.take(refused, engine="engine") is None
    assert "return_perf_metrics" in str(refused.sender.responses[0]["error"])


def test_python_backend_failure_is_of_one_request(python_backend: ModuleType) -> None:
    """A failure goes out with its words, or its name where it has none; a cancellation has its own status."""
    senders = [Sender() for _ in range(3)]
    told, untold, cancelled = (python_backend.Exchange(REQUEST, sender) for sender in senders)
    told.fail(ValueError("too long"))
    untold.fail(ValueError())
    cancelled.cancel()
    errors = [sender.responses[0]["error"] for sender in senders]
    assert [(str(error), error.code) for error in errors] == [
        ("too long", "INTERNAL"),
        ("ValueError()", "INTERNAL"),
        ("The request was cancelled", "CANCELLED"),
    ]


def test_python_backend_ends_a_server_whose_model_died(python_backend: ModuleType, monkeypatch) -> None:
    """The watcher outlives the model's process and kills a server of that name; a line calls it off."""
    started = []
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **options: started.append(command) or SimpleNamespace()
    )
    python_backend._end_server_with_this_process()
    ((shell, _, script, server),) = started
    assert shell == "/bin/sh"
    assert server.isdigit()
    assert "kill -KILL" in script

"""An answer of the ``tensorrt_llm`` model, read and held against the contract."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

from stream.errors import InferenceBreach
from stream.generation import Completion

_TYPES = {"output_ids": "INT32", "sequence_length": "INT32", "output_log_probs": "FP32"}
OUTPUTS = tuple(_TYPES)
_ROUNDING = 0.01  # by which a log-probability may exceed 0


def read_answer(response: Any, *, request_id: str, most: int) -> Completion:
    """Read the completion of one prompt.

    Args:
        response: A ``ModelInferResponse``.
        request_id: Id of the request; an answer need not repeat it, but bears no other.
        most: Tokens that were asked for.

    Raises:
        InferenceBreach: It is not as the contract has it; the message says in what.
    """
    if response.id not in ("", request_id):
        raise InferenceBreach(f"the answer bears the id of another request, {response.id!r}")
    names = [output.name for output in response.outputs]
    if missing := [name for name in OUTPUTS if name not in names]:
        raise InferenceBreach(f"it answered with {names} and without {missing}")
    if len(response.raw_output_contents) != len(names):
        raise InferenceBreach(f"{len(names)} outputs have {len(response.raw_output_contents)} contents")
    for output in response.outputs:
        _check_declaration(output)
    raw = dict(zip(names, response.raw_output_contents, strict=True))
    lengths = _numbers("i", "sequence_length", raw)
    if len(lengths) != 1:
        raise InferenceBreach(f"sequence_length holds {len(lengths)} numbers, and one prompt was sent")
    length = lengths[0]
    if length > most:
        raise InferenceBreach(
            f"sequence_length is {length}, and {most} tokens were asked for: it counts the prompt, or more"
        )
    ids = _first("output_ids", _numbers("i", "output_ids", raw), length)
    log_probs = _first("output_log_probs", _numbers("f", "output_log_probs", raw), length)
    if any(one < 0 for one in ids):
        raise InferenceBreach(f"output_ids has padding within its {length} tokens")
    if not are_log_probabilities(log_probs):
        raise InferenceBreach("output_log_probs holds a number that is no logarithm of a probability")
    return Completion(tuple(ids), tuple(log_probs))


def are_log_probabilities(numbers: Sequence[float]) -> bool:
    """Tell whether each number is a logarithm of a probability, but for rounding."""
    return all(math.isfinite(one) and one <= _ROUNDING for one in numbers)


def _check_declaration(output: Any) -> None:
    """Check type and shape of an output, where the server names them."""
    expected = _TYPES.get(output.name)
    if expected is None:
        return
    if output.datatype and output.datatype != expected:
        raise InferenceBreach(f"{output.name} has the type {output.datatype} instead of {expected}")
    rows = math.prod(output.shape[:-1])
    if rows != 1:
        raise InferenceBreach(
            f"{output.name} has the shape {list(output.shape)}: {rows} rows for one prompt and one beam"
        )


def _numbers(kind: str, name: str, raw: dict[str, bytes]) -> Sequence[Any]:
    try:
        return array(kind, raw[name])
    except ValueError as error:
        raise InferenceBreach(f"{name} has {len(raw[name])} bytes, which are no whole numbers") from error


def _first(name: str, numbers: Sequence[Any], length: int) -> Sequence[Any]:
    if not 0 <= length <= len(numbers):
        raise InferenceBreach(f"{name} has {len(numbers)} entries for {length} tokens")
    return numbers[:length]

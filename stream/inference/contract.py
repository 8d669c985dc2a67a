"""What both ends know of TensorRT-LLM's ``tensorrt_llm`` model (``inflight_batcher_llm``, 1.2.1)."""

from collections.abc import Sequence

QUEUE_FULL_IN_TRITON = "Exceeds maximum queue size"
QUEUE_FULL_IN_ENGINE = "Maximum queue size of {limit} has been reached, please try again later"
BATCH_REFUSED = "Batch size > 1 requires the tensorrt_llm backend to be using decoupled transaction policy"
STREAMING_REFUSED = "Streaming is only supported if model is deployed using decoupled mode."

PADDING = -1


def encode_word_list(words: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of ``stop_words_list`` for words of one token each: flat ids, and where each word ends among them.

    No words are one padded column: the row of ends must not be empty.
    """
    return (list(words), list(range(1, len(words) + 1))) if words else ([0], [PADDING])


def decode_word_list(flat: Sequence[int], ends: Sequence[int]) -> list[tuple[int, ...]]:
    """The words of a ``stop_words_list``; the inverse of ``encode_word_list`` for words of any length.

    Raises:
        ValueError: The ends do not increase, point outside the ids, or go on after padding.
    """
    used = [end for end in ends if end != PADDING]
    if list(ends[: len(used)]) != used:
        raise ValueError("Sparse list must not have additional -1s")
    starts = [0, *used]
    if any(end <= start for start, end in zip(starts, used, strict=False)):
        raise ValueError("Sparse list must not have non-increasing offsets")
    if used and used[-1] > len(flat):
        raise ValueError("Sparse list must not have out-of-bound offsets")
    return [tuple(flat[start:end]) for start, end in zip(starts, used, strict=False)]

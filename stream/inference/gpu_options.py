"""Options of an engine on a GPU, from the environment of its server."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class BadOption(Exception):  # noqa: N818 - names what it is
    """A variable of the environment holds what its option does not take."""


@dataclass(frozen=True)
class GpuOptions:
    """Choices of an operator, whichever engine it is.

    Attributes:
        model: Folder of the checkpoint (PADELLM_MODEL).
        dtype: ``auto`` for the checkpoint's own, or float32, float16, bfloat16 (PADELLM_GPU_DTYPE).
        max_sequences: Most sequences in one batch (PADELLM_GPU_MAX_SEQUENCES).
        memory: Share of the GPU's memory that the engine may take (PADELLM_GPU_MEMORY).
        draft_tokens: Most tokens to speculate at once, found in the prompt; 0 for none
            (PADELLM_GPU_DRAFT_TOKENS).
        constrained: Whether mentions are constrained to substrings of the text (PADELLM_CONSTRAINED).
    """

    model: Path
    dtype: str = "auto"
    max_sequences: int = 256
    memory: float = 0.9
    draft_tokens: int = 0
    constrained: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "GpuOptions":
        """Read the variables; one that is empty counts as unset.

        Raises:
            BadOption: The message names the variable.
        """
        model = environment.get("PADELLM_MODEL") or ""
        if not (Path(model) / "config.json").is_file():
            raise BadOption(f"PADELLM_MODEL: {model!r} is no model folder: it holds no config.json")
        return cls(
            model=Path(model),
            dtype=environment.get("PADELLM_GPU_DTYPE") or cls.dtype,
            max_sequences=int(_number(environment, "PADELLM_GPU_MAX_SEQUENCES", cls.max_sequences, low=1)),
            memory=_number(environment, "PADELLM_GPU_MEMORY", cls.memory, low=0.01, high=1.0),
            draft_tokens=int(_number(environment, "PADELLM_GPU_DRAFT_TOKENS", cls.draft_tokens, low=0)),
            constrained=_boolean(environment, "PADELLM_CONSTRAINED"),
        )


def _number(
    environment: Mapping[str, str], name: str, default: float, *, low: float, high: float = math.inf
) -> float:
    """A number within bounds, whole where the default is."""
    text = environment.get(name)
    if not text:
        return default
    try:
        number = type(default)(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        bounds = f"of {low} or more" if math.isinf(high) else f"from {low} to {high}"
        raise BadOption(f"{name}={text!r}: expected a {type(default).__name__} {bounds}")
    return number


def _boolean(environment: Mapping[str, str], name: str) -> bool:
    text = (environment.get(name) or "false").lower()
    if text not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise BadOption(f"{name}={text!r}: expected true or false")
    return text in {"1", "true", "yes", "on"}

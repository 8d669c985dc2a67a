"""Options of engines on a GPU."""

import pytest

from stream.bundled import model_folder
from stream.inference.gpu_options import BadOption, GpuOptions

MODEL = model_folder(None)


def test_gpu_options_that_are_empty_count_as_unset() -> None:
    """Compose hands an unset variable on as an empty one: the defaults stay."""
    empty = {"PADELLM_GPU_DTYPE": "", "PADELLM_GPU_MEMORY": "", "PADELLM_CONSTRAINED": ""}
    options = GpuOptions.from_environment({"PADELLM_MODEL": str(MODEL), **empty})
    assert options == GpuOptions(MODEL)


def test_gpu_options_are_read_from_their_variables() -> None:
    """Each variable sets its option."""
    options = GpuOptions.from_environment(
        {
            "PADELLM_MODEL": str(MODEL),
            "PADELLM_CONSTRAINED": "yes",
            "PADELLM_GPU_DTYPE": "bfloat16",
            "PADELLM_GPU_MAX_SEQUENCES": "32",
            "PADELLM_GPU_MEMORY": "0.5",
            "PADELLM_GPU_DRAFT_TOKENS": "4",
        }
    )
    assert options == GpuOptions(MODEL, "bfloat16", 32, 0.5, 4, constrained=True)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PADELLM_MODEL", "/no/model", "config.json"),
        ("PADELLM_GPU_MAX_SEQUENCES", "0", "1 or more"),
        ("PADELLM_GPU_MAX_SEQUENCES", "1.5", "1 or more"),
        ("PADELLM_GPU_MEMORY", "90", "from 0.01 to 1.0"),
        ("PADELLM_GPU_DRAFT_TOKENS", "many", "0 or more"),
        ("PADELLM_CONSTRAINED", "perhaps", "true or false"),
    ],
)
def test_gpu_options_name_a_variable_that_cannot_be(variable: str, value: str, expected: str) -> None:
    """A wrong variable ends the start with its name, its value and what is expected."""
    with pytest.raises(BadOption, match=expected) as raised:
        GpuOptions.from_environment({"PADELLM_MODEL": str(MODEL), variable: value})
    assert variable in str(raised.value)
    assert value in str(raised.value)

"""What a run has changed of a model: its state without weights that are frozen."""

from collections.abc import Mapping

from torch import Tensor, nn

from stream.errors import ConfigurationError


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state but for frozen weights, which are where they were loaded from."""
    frozen = _frozen(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_trained_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what ``trained_state`` gave.

    Raises:
        ConfigurationError: The state is that of another model.
    """
    try:
        lacking, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        raise ConfigurationError(f"{_OTHER}: {error}") from error
    lacking = [name for name in lacking if name not in _frozen(model)]
    if lacking or unknown:
        raise ConfigurationError(f"{_OTHER}: {(lacking + unknown)[0]} is in one of them alone")


_OTHER = "state.pt in the output folder is of a run with another model: use another output folder"


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}

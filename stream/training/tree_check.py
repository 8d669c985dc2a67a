"""A check that a model computes packed trees like separate sequences."""

from random import Random

import torch
from torch.nn.functional import cross_entropy

from stream.engine.model.config import FAMILIES
from stream.errors import ConfigurationError
from stream.training.model import TrainingModel
from stream.training.packing import pack
from stream.training.reformulation import LabelBranch, Tree, separate_examples

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_ROUNDED_TOLERANCE = 3e-2
_LOGIT_SCALE = 100.0
_NEEDED = (
    "it needs attention that follows a mask, positions that can be given, and logits that are its head's "
    f"own; {', '.join(FAMILIES)} have these"
)


def check_tree_attention(model: TrainingModel, vocabulary: int) -> None:
    """Refuse an architecture that ignores a tree mask or positions, or that changes its head's logits.

    State-space models, relative biases and soft-capped logits would otherwise be trained as another model
    than the served one. A random tree is computed packed and as separate sequences, which takes milliseconds.

    Args:
        model: In training; its loss on packed trees is what is checked.
        vocabulary: Ids to draw from.

    Raises:
        ConfigurationError: The losses differ.
    """
    tree = _random_tree(vocabulary)
    name = type(model.causal).__name__
    model.eval()
    # On large logits a soft cap shows, and so does a wrong mask in an untrained model.
    scaled = model.causal.get_output_embeddings().register_forward_hook(lambda *call: call[-1] * _LOGIT_SCALE)
    try:
        with torch.no_grad():
            packed = float(model.answer_loss(pack([tree, tree], 8))) / 2
            separate = sum(_loss_alone(model, *example) for example in _sequences(tree))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{name} cannot be trained here: {_NEEDED} ({error})") from error
    finally:
        scaled.remove()
        model.train()
    allowed = _TOLERANCE.get(model.causal.dtype, _ROUNDED_TOLERANCE)
    if not abs(packed - separate) <= allowed * separate:
        raise ConfigurationError(
            f"{name} cannot be trained here: {_NEEDED} (packed trees give it a loss of {packed:.4f}, "
            f"the same examples one by one {separate:.4f})"
        )


def _random_tree(vocabulary: int) -> Tree:
    rng = Random(0)  # noqa: S311 - reproducible, not secret

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(vocabulary) for _ in range(count))

    branches = tuple(LabelBranch(ids(4), ids(1), (ids(4), ids(3)), 1) for _ in range(2))
    return Tree(ids(12), branches, ids(1)[0], (0,) * 12, (0,) * 12, ())


def _sequences(tree: Tree) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(example.prompt, example.answer) for example in separate_examples(tree)]


def _loss_alone(model: TrainingModel, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    ids = torch.tensor([prompt + answer], device=model.causal.device)
    logits = model.causal(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return float(cross_entropy(logits.float(), ids[0, len(prompt) :], reduction="sum"))

"""The proposer of each strategy."""

from stream.engine.blocks import BlockProposer
from stream.engine.drafts import CopyDrafter
from stream.engine.kv_cache import KvCache
from stream.engine.proposer import Proposer
from stream.engine.state_probe import CachedStates
from stream.engine.strategy import Strategy
from stream.engine.token_shapes import TokenShapes

_JACOBI_BLOCK = 16
_GAUSS_SEIDEL_BLOCK = 5
_CONFIDENCE = 0.2


def confidence_of(strategy: Strategy) -> float | None:
    """Probability from which on a drafted token is taken though another is likelier; None: never."""
    return None if strategy.lossless else _CONFIDENCE


def make_proposer(strategy: Strategy, shapes: TokenShapes, cache: KvCache) -> Proposer | None:
    """What drafts for a strategy; None when nothing does.

    Args:
        strategy: How next tokens are found.
        shapes: Of the model's tokens.
        cache: The pool of the keys and values of what was read.
    """
    match strategy:
        case Strategy.DRAFTS | Strategy.LUD:
            return CopyDrafter(shapes, CachedStates(cache))
        case Strategy.JACOBI:
            return BlockProposer(_JACOBI_BLOCK, sliding=True)
        case Strategy.GAUSS_SEIDEL:
            return BlockProposer(_GAUSS_SEIDEL_BLOCK, sliding=False)
        case Strategy.PLAIN:
            return None

"""The proposer of each strategy."""

from stream.engine.blocks import BlockProposer
from stream.engine.drafts import CopyDrafter
from stream.engine.proposer import Proposer
from stream.engine.strategy import Strategy
from stream.engine.token_shapes import TokenShapes

_JACOBI_BLOCK = 16
_GAUSS_SEIDEL_BLOCK = 5


def make_proposer(strategy: Strategy, shapes: TokenShapes) -> Proposer | None:
    """What drafts for a strategy; None when nothing does.

    Args:
        strategy: How next tokens are found.
        shapes: Of the model's tokens.
    """
    match strategy:
        case Strategy.DRAFTS:
            return CopyDrafter(shapes)
        case Strategy.JACOBI:
            return BlockProposer(_JACOBI_BLOCK, sliding=True)
        case Strategy.GAUSS_SEIDEL:
            return BlockProposer(_GAUSS_SEIDEL_BLOCK, sliding=False)
        case Strategy.PLAIN:
            return None

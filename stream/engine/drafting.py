"""The proposer of each strategy."""

from pathlib import Path

from stream.engine.proposer import Proposer
from stream.engine.strategy import Strategy


def make_proposer(strategy: Strategy, folder: Path, vocabulary: int) -> Proposer | None:
    """What drafts for a strategy; None when nothing does.

    Args:
        strategy: How next tokens are found.
        folder: The model, whose tokenizer.json says what tokens look like.
        vocabulary: Number of token ids.
    """
    return None

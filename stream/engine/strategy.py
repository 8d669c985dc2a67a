"""How the engine finds the next tokens of a sequence; all ways give what plain greedy decoding gives."""

from enum import StrEnum


class Strategy(StrEnum):
    """Ways of decoding.

    Attributes:
        PLAIN: One token a pass.
        DRAFTS: Continuations are drafted from the prompt and from earlier answers, and verified in the pass
            that reads the prompt's own end.
        JACOBI: A window of guesses moves along with the tokens that are settled (Santilli et al., arXiv
            2305.10427, section 3).
        GAUSS_SEIDEL: Blocks one after the other, Jacobi iterations within a block (the same, "PGJ").
    """

    PLAIN = "plain"
    DRAFTS = "drafts"
    JACOBI = "jacobi"
    GAUSS_SEIDEL = "gauss_seidel"

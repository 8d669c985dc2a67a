"""How the engine finds the next tokens of a sequence."""

from enum import StrEnum


class Strategy(StrEnum):
    """Ways of decoding; all but the last give what plain greedy decoding gives.

    Attributes:
        PLAIN: One token a pass.
        DRAFTS: Continuations are drafted from the prompt and from earlier answers, and verified in the pass
            that reads the prompt's own end.
        JACOBI: A window of guesses moves along with the tokens that are settled (Santilli et al., arXiv
            2305.10427, section 3).
        GAUSS_SEIDEL: Blocks one after the other, Jacobi iterations within a block (the same, "PGJ").
        LUD: As DRAFTS, but a lexical unit, which is what was drafted, is taken whole as long as the model is
            confident of every token, though another were likelier. The idea is that of lexical unit decoding
            (arXiv 2405.15208), where the model itself, trained for it, says several tokens at once.
    """

    PLAIN = "plain"
    DRAFTS = "drafts"
    JACOBI = "jacobi"
    GAUSS_SEIDEL = "gauss_seidel"
    LUD = "lud"

    @property
    def lossless(self) -> bool:
        """Whether it gives what plain greedy decoding gives."""
        return self is not Strategy.LUD

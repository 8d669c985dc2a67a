"""Decoding methods that the benchmark can compare."""

from enum import StrEnum


class Decoding(StrEnum):
    """Methods of decoding on one engine; all but the last equal plain greedy decoding.

    Attributes:
        PLAIN: One token per pass.
        DRAFTS: The engine's own: answers are drafted from the text and from earlier answers, and verified in
            the pass that prefills the end of the prompt.
        JACOBI: A sliding window of guesses (Santilli et al., arXiv 2305.10427, section 3).
        GAUSS_SEIDEL: One block after the other, with Jacobi iterations inside a block (there "PGJ").
        LUD: As DRAFTS, but a drafted token above a probability threshold is accepted even if another is more
            likely. The idea is lexical unit decoding's (arXiv 2405.15208), whose model is trained for it.
    """

    PLAIN = "plain"
    DRAFTS = "drafts"
    JACOBI = "jacobi"
    GAUSS_SEIDEL = "gauss_seidel"
    LUD = "lud"

    @property
    def lossless(self) -> bool:
        """True if it equals plain greedy decoding."""
        return self is not Decoding.LUD

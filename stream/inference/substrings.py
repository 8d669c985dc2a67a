"""Grammars that constrain a mention to a substring of its text, for engines that take llguidance's."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer

from stream.generation import Prompt


class Substrings:
    """Grammars of the substrings of prompts' texts.

    The text is the prompt's first run of ordinary tokens, as for the CPU engine (``stream.engine.prompt``).

    Args:
        tokenizer: Of the checkpoint.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._controls = {number for number, token in added.items() if token.special}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Of a checkpoint's folder."""
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def grammar(self, prompt: Prompt) -> str | None:
        """Grammar (llguidance) of the answers to a prompt; None where they are free, as counts are."""
        if prompt.stop_ids or prompt.max_new_tokens == 1:
            return None
        text: str = self._tokenizer.decode(_first_run(prompt.ids, self._controls), skip_special_tokens=False)
        if not text:
            return None
        # A mention may begin with a space also where the text begins with it.
        spaced = text if text.startswith(" ") else f" {text}"
        return f"start: SUB\nSUB: %regex {json.dumps({'substring_chars': spaced})}"


def _first_run(ids: Sequence[int], controls: Collection[int]) -> list[int]:
    """The first run of ids that are no controls."""
    run: list[int] = []
    for one in ids:
        if one not in controls:
            run.append(one)
        elif run:
            break
    return run

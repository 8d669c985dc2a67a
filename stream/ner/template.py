"""Prompts and answers as token ids (PaDeLLM-NER, section 3.1).

Pieces are encoded apart and joined as ids. Text and labels are encoded with the tokenizer's control tokens
switched off, and every marker must hold a control token; so no text, whatever it contains, can forge a
prompt's structure.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from stream.errors import CheckpointError
from stream.generation import Prompt
from stream.ner.config import NerConfig

_SPACE = re.compile(r"\s+")
_UNEVEN_SPACE = re.compile(r"\s\s|[^\S \n]|\A\s|\s\Z")


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token ids of a text and the code-point range ``(start, end)`` that each covers."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


class PromptTemplate:
    """Builds prompts for one checkpoint and reads its answers.

    Args:
        config: The checkpoint's NER configuration.
        tokenizer: Its ``tokenizers.Tokenizer``; this object must own it, since it switches flags of it.
        end_id: The end-of-sequence id.

    Raises:
        CheckpointError: A marker holds no control token of the tokenizer, so that a text could forge it, or
            two numbers have the same count answer or mention marker.
    """

    def __init__(self, config: NerConfig, tokenizer: Tokenizer, end_id: int) -> None:
        self.config = config
        self.end_id = end_id
        self._tokenizer = tokenizer
        # Saved tokenizers may carry either; a text must be read whole and as it is.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        pieces = config.template
        self._text = self._marker(pieces.text)
        self._label = self._marker(pieces.label)
        self._count = self._marker(pieces.count)
        self._answers = [self._control(pieces.count_answer.format(n=n)) for n in range(config.max_count + 1)]
        self._longest_answer = max(map(len, self._answers))
        self._mentions = [self._marker(pieces.mention.format(k=k)) for k in range(1, config.max_count + 1)]
        self._counts = {ids: n for n, ids in enumerate(self._answers)}
        if len(self._counts) <= config.max_count or len(set(self._mentions)) < config.max_count:
            raise CheckpointError(
                f"count answers {pieces.count_answer!r} and mention markers {pieces.mention!r} must be "
                f"different token ids for every number up to {config.max_count}"
            )
        last = {ids[-1] for ids in self._answers}
        self._count_stop = tuple(last) if len(last) == 1 else ()

    @classmethod
    def load(cls, folder: Path, config: NerConfig | None = None) -> "PromptTemplate":
        """Read the template and tokenizer of a model folder.

        Args:
            folder: The model.
            config: In place of its ``ner_config.json``.

        Raises:
            CheckpointError: The folder lacks a usable fast tokenizer or ``ner_config.json``.
        """
        config = config or NerConfig.load(folder)
        try:
            # Straight from the file: the classes of transformers cost a second to import, and rebuild some
            # tokenizers otherwise than they were trained.
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # what tokenizers raises for any bad file
            raise CheckpointError(
                f"{folder} has no usable fast tokenizer (tokenizer.json): {error}"
            ) from error
        return cls(config, tokenizer, _end_id(folder, tokenizer))

    def encode_text(self, text: str) -> EncodedText:
        """Token ids of a plain text; nothing in it is read as a control token.

        A run of white space is read as models are trained on it: as one line end where it holds one, else as
        one space, and at the text's ends not at all. Offsets stay the text's own; white space before the
        first word belongs to its token.
        """
        self._tokenizer.encode_special_tokens = True
        if _UNEVEN_SPACE.search(text) is None:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            return EncodedText(tuple(encoding.ids), tuple(encoding.offsets))
        read, starts = _with_even_spaces(text)
        encoding = self._tokenizer.encode(read, add_special_tokens=False)
        return EncodedText(
            tuple(encoding.ids), tuple((starts[start], starts[end]) for start, end in encoding.offsets)
        )

    def label_text(self, label: str, definition: str | None = None) -> str:
        """The words of the prompt for a label: its phrase, with the request's definition if there is one."""
        phrase = self.config.phrase(label)
        return (
            self.config.template.definition.format(label=phrase, definition=definition)
            if definition
            else phrase
        )

    def prefix_ids(self, text_ids: Sequence[int]) -> tuple[int, ...]:
        """The part that all prompts of a window share: the text marker and the text."""
        return (*self._text, *text_ids)

    def count_prompt(self, prefix_ids: Sequence[int], label_ids: Sequence[int]) -> Prompt:
        """Asks how many mentions of a label the text has.

        Args:
            prefix_ids: From ``prefix_ids``.
            label_ids: ``encode_text(label_text(...)).ids``.
        """
        ids = (*prefix_ids, *self._label, *label_ids, *self._count)
        return Prompt(ids, self._longest_answer, self.end_id, self._count_stop)

    def mention_prompt(self, count_prompt: Prompt, count: int, k: int) -> Prompt:
        """Asks for the k-th (from 1) of ``count`` mentions; its ids extend the count prompt's."""
        ids = (*count_prompt.ids, *self._answers[count], *self._mentions[k - 1])
        return Prompt(ids, self.config.max_mention_tokens, self.end_id)

    def count_answer_ids(self, count: int) -> tuple[int, ...]:
        """The ids that answer a count prompt with ``count`` (training and forced decoding)."""
        return self._answers[count]

    def parse_count(self, ids: Sequence[int]) -> int | None:
        """The count a completion answers, or None when it is no count."""
        return self._counts.get(tuple(ids))

    def decode_mention(self, ids: Sequence[int]) -> str:
        """The mention's text, surrounding white space removed; control tokens do not appear in it."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    def show(self, ids: Sequence[int]) -> str:
        """The text of token ids, control tokens included, for people to read."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def control_token(self, token: str) -> int | None:
        """The id of a control token; None where the tokenizer has no such token, or a text could hold it."""
        ids = self._control(token)
        return ids[0] if len(ids) == 1 and ids != self.encode_text(token).ids else None

    def _control(self, piece: str) -> tuple[int, ...]:
        self._tokenizer.encode_special_tokens = False
        return tuple(self._tokenizer.encode(piece, add_special_tokens=False).ids)

    def _marker(self, piece: str) -> tuple[int, ...]:
        ids = self._control(piece)
        self._tokenizer.encode_special_tokens = True
        if ids == tuple(self._tokenizer.encode(piece, add_special_tokens=False).ids):
            raise CheckpointError(
                f"the prompt marker {piece!r} holds no control token of the tokenizer, "
                "so a text could forge it: add it to the tokenizer as a special token and train with it"
            )
        return ids


def _with_even_spaces(text: str) -> tuple[str, list[int]]:
    """The text with each run of white space as one character, none at its ends.

    Returns:
        It, and where each of its characters starts in the text; one more, where the last of them ends.
    """
    pieces: list[str] = []
    starts: list[int] = []
    end = len(text.rstrip())
    at = len(text) - len(text.lstrip())
    for run in _SPACE.finditer(text, at, end):
        pieces += text[at : run.start()], "\n" if run[0].splitlines() != [run[0]] else " "
        starts += range(at, run.start() + 1)
        at = run.end()
    pieces.append(text[at:end])
    starts += range(at, end + 1)
    starts[:1] = [0]
    return "".join(pieces), starts


def _end_id(folder: Path, tokenizer: Tokenizer) -> int:
    """The id of ``eos_token`` in tokenizer_config.json."""
    path = folder / "tokenizer_config.json"
    try:
        end = json.loads(path.read_bytes())["eos_token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} names no end-of-sequence token (eos_token): {error!r}") from error
    token = end["content"] if isinstance(end, dict) else end
    end_id = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if end_id is None:
        raise CheckpointError(f"{path} names {token!r} as eos_token, which tokenizer.json does not know")
    return int(end_id)

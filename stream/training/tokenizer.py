"""Tokenizers: the byte-level BPE of our own checkpoints, and those of foreign ones with our control tokens.

The token borders of ours fall where entities begin and end.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from stream.baselines.answers import mark_tokens
from stream.baselines.config import BaselineConfig
from stream.errors import ConfigurationError
from stream.ner.config import NerConfig

END = "</s>"
PAD = "<pad>"
_KEPT = ("bos_token", "unk_token", "chat_template")

# Tried in order; each match is spelled by tokens of its own. A leading space belongs to what follows it.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
_PRE_TOKENS = [
    r" ?'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])(?![\p{L}\p{N}])",  # 's, 't, 're
    r" ?-[LR](?:PR|RB)-",  # the brackets of treebank text
    r" ?(?:\p{Lu}\.){2,}",  # U.S.
    rf" ?[{_UNSPACED}]",  # scripts that put no space between words
    rf" ?[\p{{L}}\p{{M}}&&[^{_UNSPACED}]]+",
    r" ?\p{N}{1,4}",
    r" ?([-=.*_#~])\1+",
    r" ?[^\s\p{L}\p{N}]",
    r"\s",
]


@dataclass(frozen=True, slots=True)
class CheckpointTokenizer:
    """A tokenizer, and the entries of a checkpoint's ``tokenizer_config.json``.

    Attributes:
        tokenizer: It has every control token of the prompts.
        end: The token that ends an answer.
        pad: The token that fills sequences up; the end token where the checkpoint names none.
        kept: Other entries of ``tokenizer_config.json`` that an export writes again.
        added: Ids of the tokens that the checkpoint lacked, each with the ids that spelled it before.
    """

    tokenizer: Tokenizer
    end: str = END
    pad: str = PAD
    kept: Mapping[str, Any] = field(default_factory=dict)
    added: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def end_id(self) -> int:
        """Id of ``end``."""
        return token_id(self.tokenizer, self.end)

    @property
    def pad_id(self) -> int:
        """Id of ``pad``."""
        return token_id(self.tokenizer, self.pad)

    @property
    def size(self) -> int:
        """Rows that an embedding needs: the highest id and one."""
        return 1 + max(self.tokenizer.get_vocab().values())

    def save(self, folder: Path, max_positions: int) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json`` for ``AutoTokenizer``."""
        from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - a second of import

        PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            eos_token=self.end,
            pad_token=self.pad,
            model_max_length=max_positions,
            clean_up_tokenization_spaces=False,
            **self.kept,
        ).save_pretrained(folder)


def control_tokens(config: NerConfig | BaselineConfig) -> list[str]:
    """The pieces with an id of their own: padding, end, every marker and count answer of the template.

    A baseline has the same, unused or not, and the marks of its answers.
    """
    return [PAD, END, *_pieces(config)]


def train_tokenizer(texts: Iterable[str], vocabulary: int, config: NerConfig | BaselineConfig) -> Tokenizer:
    """Learn the merges.

    Words carry their leading space; a space set before the text makes its first word look like any other.
    Numbers, punctuation marks and characters of scripts without spaces are pieces of their own.

    Args:
        texts: Texts that the pairs are counted on.
        vocabulary: Ids in all, control tokens included.
        config: Names the control tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_PRE_TOKENS)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_special(control_tokens(config)),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def adopt_tokenizer(folder: Path, config: NerConfig | BaselineConfig) -> CheckpointTokenizer:
    """The tokenizer of any checkpoint; control tokens that it lacks are added behind its last id.

    A piece of the template may begin with a special token that the tokenizer has, such as the one that the
    checkpoint expects at the start of a sequence; the rest of it becomes the control token.

    Raises:
        ConfigurationError: The folder has no ``tokenizer.json``.
    """
    tokenizer = _read(folder)
    entries = _entries(folder / "tokenizer_config.json")
    end = entries.get("eos_token") or END
    pad = entries.get("pad_token") or end
    known = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    wanted = dict.fromkeys(_behind(known, piece) for piece in (end, pad, *_pieces(config)))
    spelled = {
        piece: tuple(tokenizer.encode(piece, add_special_tokens=False).ids)
        for piece in wanted
        if piece and piece not in known
    }
    tokenizer.add_special_tokens(_special(spelled))
    return CheckpointTokenizer(
        tokenizer,
        end,
        pad,
        kept={name: entries[name] for name in _KEPT if entries.get(name)},
        added={token_id(tokenizer, piece): ids for piece, ids in spelled.items()},
    )


def begins_sequences(tokenizer: Tokenizer) -> str | None:
    """The token that a tokenizer sets before every text by itself, as the model it was made for expects."""
    ids = tokenizer.encode("", add_special_tokens=True).ids
    token: str | None = tokenizer.id_to_token(ids[0]) if ids else None
    return token


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token.

    Raises:
        ConfigurationError: The tokenizer does not know it.
    """
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ConfigurationError(f"the tokenizer has no token {token!r}: it was trained for another template")
    return number


def _pieces(config: NerConfig | BaselineConfig) -> list[str]:
    """Every marker and count answer of the template, and the marks of a baseline."""
    if isinstance(config, BaselineConfig):
        return [*_pieces(config.ner), *mark_tokens(config.format)]
    pieces = config.template
    return [
        pieces.text,
        pieces.label,
        pieces.count,
        *(pieces.count_answer.format(n=n) for n in range(config.max_count + 1)),
        *(pieces.mention.format(k=k) for k in range(1, config.max_count + 1)),
    ]


def _special(tokens: Iterable[str]) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]


def _behind(known: Sequence[str], piece: str) -> str:
    """The rest of a piece behind the special tokens that it begins with."""
    if piece in known:
        return piece
    first = next((token for token in known if piece.startswith(token)), None)
    return _behind(known, piece[len(first) :]) if first else piece


def _read(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # what tokenizers raises for any bad file
        raise ConfigurationError(
            f"{path} is no tokenizer that can be trained on ({error}); transformers writes one: "
            "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)"
        ) from error


def _entries(path: Path) -> dict[str, Any]:
    """The entries of ``tokenizer_config.json``, tokens as plain text."""
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        return {}
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    return {
        name: value["content"] if isinstance(value, dict) and "content" in value else value
        for name, value in content.items()
    }

"""The byte-level BPE of our own checkpoints, whose token borders fall where entities begin and end."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from stream.errors import ConfigurationError
from stream.ner.baselines import marks
from stream.ner.baselines.config import BaselineConfig
from stream.ner.config import NerConfig

END = "</s>"
PAD = "<pad>"

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


def control_tokens(config: NerConfig | BaselineConfig) -> list[str]:
    """Every marker and count answer of the template, the end and the padding token; each gets one id.

    A baseline has the same, unused or not, and the marks of its answers.
    """
    if isinstance(config, BaselineConfig):
        return [*control_tokens(config.ner), *marks.control_tokens(config.format)]
    pieces = config.template
    return [
        PAD,
        END,
        pieces.text,
        pieces.label,
        pieces.count,
        *(pieces.count_answer.format(n=n) for n in range(config.max_count + 1)),
        *(pieces.mention.format(k=k) for k in range(1, config.max_count + 1)),
    ]


def train_tokenizer(texts: Iterable[str], vocabulary: int, config: NerConfig | BaselineConfig) -> Tokenizer:
    """Learn the merges.

    Words carry their leading space; a space set before the text makes its first word look like any other.
    Numbers, punctuation marks and characters of scripts without spaces stand alone.

    Args:
        texts: What the pairs are counted on.
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
        special_tokens=_added(config),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path, config: NerConfig | BaselineConfig) -> Tokenizer:
    """A tokenizer from a file; control tokens that it lacks are added behind its last id."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(_added(config))
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token.

    Raises:
        ConfigurationError: The tokenizer does not know it.
    """
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ConfigurationError(f"the tokenizer has no token {token!r}: it was trained for another template")
    return number


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_positions: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` for ``AutoTokenizer``."""
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - a second of import

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=max_positions,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def _added(config: NerConfig | BaselineConfig) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in control_tokens(config)]

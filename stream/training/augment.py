"""Random changes to a training sentence that keep its annotation true."""

from collections.abc import Mapping, Sequence
from random import Random
from textwrap import TextWrapper

from stream.training.corpora import PhraseMention, TrainingText

_LEFT = frozenset(".,;:!?%)]}…’”»") | {"...", "'s", "'S", "'re", "'ve", "'m", "'d", "'ll", "n't", "N'T"}
_RIGHT = frozenset("([{$£€#“«‘@")
_SPELLINGS = {"-LPR-": "(", "-RPR-": ")", "-LRB-": "(", "-RRB-": ")", "``": '"', "''": '"'}
_JOINTS = frozenset("-/")


def detokenise(sentence: TrainingText, *, spaced_hyphens: bool = False) -> TrainingText:
    """The sentence with punctuation attached, brackets restored and quotes closed up.

    Mentions whose borders no longer fall on characters of their own are kept only when their text survives.

    Args:
        sentence: Words separated by single spaces.
        spaced_hyphens: Hyphens and slashes between spaces joined words before tokenisation.
    """
    pieces = sentence.text.split(" ")
    text = ""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    glue, open_quotes, position = True, set[str](), 0
    for piece in pieces:
        written = _SPELLINGS.get(piece, piece)
        left, right = _sides(written, open_quotes, spaced_hyphens=spaced_hyphens)
        if text and not (glue or left):
            text += " "
        for inner in range(len(piece) if written == piece else 1):
            starts[position + inner] = len(text) + inner
        for inner in range(1, len(piece) + 1) if written == piece else [len(piece)]:
            ends[position + inner] = len(text) + (inner if written == piece else len(written))
        text += written
        glue, position = right, position + len(piece) + 1
    mentions = tuple(
        PhraseMention(starts[m.start], ends[m.end], m.phrases)
        for m in sentence.mentions
        if m.start in starts and m.end in ends
    )
    return TrainingText(text, mentions, sentence.inventory)


def parenthesise(sentence: TrainingText) -> TrainingText:
    """The sentence, still space-separated, with ``-LPR-`` and ``-RPR-`` written as parentheses."""
    text, moved = "", []
    for piece in sentence.text.split(" "):
        written = _SPELLINGS.get(piece, piece) if piece.startswith("-") else piece
        moved.append((len(text), len(piece), len(written)))
        text += written + " "
    shift: dict[int, int] = {}
    position = 0
    for start, before, after in moved:
        shift[position] = start
        shift[position + before] = start + after
        if before == after:
            shift.update((position + i, start + i) for i in range(before))
        position += before + 1
    mentions = tuple(
        PhraseMention(shift[m.start], shift[m.end], m.phrases)
        for m in sentence.mentions
        if m.start in shift and m.end in shift
    )
    return TrainingText(text[:-1], mentions, sentence.inventory)


def _sides(piece: str, open_quotes: set[str], *, spaced_hyphens: bool) -> tuple[bool, bool]:
    """True for each side, left and right, on which a piece is attached to its neighbour."""
    if piece in {'"', "'"}:
        if piece in open_quotes:
            open_quotes.discard(piece)
            return True, False
        open_quotes.add(piece)
        return False, True
    if spaced_hyphens and piece in _JOINTS:
        return True, True
    return piece in _LEFT, piece in _RIGHT


Names = Mapping[str, Sequence[str]]


def names_by_phrase(sentences: Sequence[TrainingText], max_words: int = 5) -> dict[str, list[str]]:
    """The texts of short mentions by the last of their phrases, each as often as it occurs."""
    names: dict[str, list[str]] = {}
    for sentence in sentences:
        for mention in sentence.mentions:
            name = sentence.text[mention.start : mention.end]
            if name.count(" ") < max_words:
                names.setdefault(mention.phrases[-1], []).append(name)
    return names


def swap_names(sentence: TrainingText, names: Names, share: float, rng: Random) -> TrainingText:
    """Replace each mention, with probability ``share``, by another of its phrase."""
    text, end, mentions = "", 0, []
    for mention in sentence.mentions:
        if mention.start < end:
            return sentence  # nested mentions cannot be replaced one by one
        name = sentence.text[mention.start : mention.end]
        if rng.random() < share:
            name = _another(name, names.get(mention.phrases[-1], ()), rng)
        text += sentence.text[end : mention.start]
        mentions.append(PhraseMention(len(text), len(text) + len(name), mention.phrases))
        text += name
        end = mention.end
    return TrainingText(text + sentence.text[end:], tuple(mentions), sentence.inventory)


def upper_case(sentence: TrainingText) -> TrainingText:
    """The sentence in capitals, where that changes no length."""
    return _respelt(sentence, sentence.text.upper())


def lower_case(sentence: TrainingText) -> TrainingText:
    """The sentence in small letters, where that changes no length."""
    return _respelt(sentence, sentence.text.lower())


def _respelt(sentence: TrainingText, text: str) -> TrainingText:
    if len(text) != len(sentence.text):
        return sentence
    return TrainingText(text, sentence.mentions, sentence.inventory)


def wrap(sentence: TrainingText, width: int) -> TrainingText:
    """The sentence with lines of at most ``width`` characters, words aside, where that changes no length."""
    wrapper = TextWrapper(
        width,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return _respelt(sentence, "\n".join(map(wrapper.fill, sentence.text.split("\n"))))


def join(sentences: Sequence[TrainingText], separator: str = " ") -> TrainingText:
    """Sentences of one corpus as one text, annotated with what every one of them is."""
    inventory = tuple(
        phrase for phrase in sentences[0].inventory if all(phrase in one.inventory for one in sentences)
    )
    text, mentions = "", []
    for sentence in sentences:
        start = len(text) + len(separator) if text else 0
        text += (separator if text else "") + sentence.text
        for mention in sentence.mentions:
            phrases = tuple(phrase for phrase in mention.phrases if phrase in inventory)
            if phrases:
                mentions.append(PhraseMention(mention.start + start, mention.end + start, phrases))
    return TrainingText(text, tuple(mentions), inventory)


def _another(name: str, pool: Sequence[str], rng: Random) -> str:
    if not pool:
        return name
    other = rng.choice(pool)
    if name.isupper() and len(name) > 4:  # noqa: PLR2004 - shorter capitals are acronyms, not headlines
        return other.upper()
    return other

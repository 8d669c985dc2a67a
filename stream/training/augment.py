"""Random changes to a training sentence that keep its annotation true."""

from collections.abc import Mapping, Sequence
from random import Random

from stream.training.corpora import Mention, Sentence

Names = Mapping[str, Sequence[str]]


def names_by_phrase(sentences: Sequence[Sentence], max_words: int = 5) -> dict[str, list[str]]:
    """Every mention's text under the last of its phrases, short ones only, as often as it occurs."""
    names: dict[str, list[str]] = {}
    for sentence in sentences:
        for mention in sentence.mentions:
            name = sentence.text[mention.start : mention.end]
            if name.count(" ") < max_words:
                names.setdefault(mention.phrases[-1], []).append(name)
    return names


def swap_names(sentence: Sentence, names: Names, share: float, rng: Random) -> Sentence:
    """Replace each mention, with probability ``share``, by another of its phrase."""
    text, end, mentions = "", 0, []
    for mention in sentence.mentions:
        if mention.start < end:
            return sentence  # nested mentions cannot be replaced one by one
        name = sentence.text[mention.start : mention.end]
        if rng.random() < share:
            name = _another(name, names.get(mention.phrases[-1], ()), rng)
        text += sentence.text[end : mention.start]
        mentions.append(Mention(len(text), len(text) + len(name), mention.phrases))
        text += name
        end = mention.end
    return Sentence(text + sentence.text[end:], tuple(mentions), sentence.inventory)


def upper_case(sentence: Sentence) -> Sentence:
    """The sentence in capitals, where that changes no length."""
    text = sentence.text.upper()
    return (
        Sentence(text, sentence.mentions, sentence.inventory) if len(text) == len(sentence.text) else sentence
    )


def join(sentences: Sequence[Sentence], separator: str = " ") -> Sentence:
    """Sentences of one corpus as one text."""
    text, mentions = "", []
    for sentence in sentences:
        start = len(text) + len(separator) if text else 0
        text += (separator if text else "") + sentence.text
        mentions += [Mention(m.start + start, m.end + start, m.phrases) for m in sentence.mentions]
    return Sentence(text, tuple(mentions), sentences[0].inventory)


def _another(name: str, pool: Sequence[str], rng: Random) -> str:
    if not pool:
        return name
    other = rng.choice(pool)
    if name.isupper() and len(name) > 4:  # noqa: PLR2004 - shorter capitals are acronyms, not headlines
        return other.upper()
    return other

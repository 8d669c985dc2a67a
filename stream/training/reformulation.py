"""A sentence as PaDeLLM-NER's training examples (section 3.1): a count per label, every mention on its own.

The examples of one text form a tree: text, then a branch per label, then a sub-branch per mention. A
baseline's are a tree too: a branch per prompt. Token ids only leave this module; nothing here needs torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from stream.baselines.answers import GoldMention
from stream.baselines.prompts import BaselinePrompts
from stream.ner.config import LabelConfig, NerConfig
from stream.ner.labels import LabelWords
from stream.ner.template import PromptTemplate
from stream.ner.text_tokens import TextTokens
from stream.training.corpora import TrainingText


@dataclass(frozen=True, slots=True)
class LabelBranch:
    """Continuation of a text for one label, or for one prompt of a baseline.

    Attributes:
        prompt: Label marker, label and count marker.
        count: The count's answer; a baseline's whole answer, its end id included.
        mentions: For each mention the marker and the answer, without the end id.
        markers: Number of leading ids of each of ``mentions`` that are its marker.
    """

    prompt: tuple[int, ...]
    count: tuple[int, ...]
    mentions: tuple[tuple[int, ...], ...]
    markers: int


@dataclass(frozen=True, slots=True)
class Tree:
    """All examples of one text.

    Attributes:
        root: Text marker and text.
        bio_tags: For each of ``root`` its tag: 0 is outside; 1 + 2p begins and 2 + 2p continues a mention of
            phrase p.
        mention_indices: For each of ``root`` the number, within its label, of its mention, from 1; 0 outside.
        inventory: Numbers of the phrases whose tags are known for this text.
    """

    root: tuple[int, ...]
    branches: tuple[LabelBranch, ...]
    end_id: int
    bio_tags: tuple[int, ...]
    mention_indices: tuple[int, ...]
    inventory: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens when the tree is packed: shared parts counted once."""
        return len(self.root) + sum(
            len(b.prompt) + len(b.count) - (not b.mentions) + sum(map(len, b.mentions)) for b in self.branches
        )


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One separate training sequence, as the paper writes it: the loss is on ``answer`` alone."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Reformulator:
    """Turns sentences into trees of token ids.

    Args:
        template: The prompt of the checkpoint in training.
        phrases: Every phrase of the run; its place is its number in BIO tags.
        baseline: The prompts of another format, for trees of that.
    """

    def __init__(
        self, template: PromptTemplate, phrases: Sequence[str], baseline: BaselinePrompts | None = None
    ) -> None:
        self._template = template
        self._numbers = {phrase: number for number, phrase in enumerate(phrases)}
        self._label_ids: dict[str, tuple[int, ...]] = {}
        self._max_count = template.config.max_count
        self._baseline = baseline

    def tree(self, sentence: TrainingText, phrases: Sequence[str] | Mapping[str, LabelWords]) -> Tree:
        """The examples of a sentence; PaDeLLM's leave out mentions past the highest count.

        Args:
            sentence: The text and its mentions.
            phrases: Phrases to ask for, in order; a mapping gives the words of each.
        """
        asked = phrases if isinstance(phrases, Mapping) else {one: LabelWords(one, one) for one in phrases}
        text = TextTokens.of(sentence.text, self._template)
        prefix = self._template.prefix_ids(text.encoded.ids)
        marker = len(prefix) - len(text.encoded.ids)
        tags, mention_indices = self._tags(sentence, text)
        return Tree(
            root=prefix,
            branches=self._branches(sentence, text, prefix, asked),
            end_id=self._template.end_id,
            bio_tags=(0,) * marker + tags,
            mention_indices=(0,) * marker + mention_indices,
            inventory=tuple(self._numbers[p] for p in sentence.inventory if p in self._numbers),
        )

    def _branches(
        self,
        sentence: TrainingText,
        text: TextTokens,
        prefix: tuple[int, ...],
        asked: Mapping[str, LabelWords],
    ) -> tuple[LabelBranch, ...]:
        baseline = self._baseline
        if baseline is None:
            return tuple(
                self._branch(sentence, text, prefix, phrase, words) for phrase, words in asked.items()
            )
        mentions = [GoldMention(phrase, m.start, m.end) for m in sentence.mentions for phrase in m.phrases]
        return tuple(
            LabelBranch(
                prompt=prompt.ids[len(prefix) :],
                count=(*baseline.answer(prompt, text, mentions), self._template.end_id),
                mentions=(),
                markers=0,
            )
            for prompt in baseline.prompts(prefix, asked)
        )

    def _branch(
        self,
        sentence: TrainingText,
        text: TextTokens,
        prefix: tuple[int, ...],
        phrase: str,
        words: LabelWords,
    ) -> LabelBranch:
        found = [m for m in sentence.mentions if phrase in m.phrases][: self._max_count]
        prompt = self._template.count_prompt(prefix, self._encode(words.asked))
        asked = [self._template.mention_prompt(prompt, len(found), k) for k in range(1, len(found) + 1)]
        count = self._template.count_answer_ids(len(found))
        shared = len(prompt.ids) + len(count)
        return LabelBranch(
            prompt=prompt.ids[len(prefix) :],
            count=count,
            mentions=tuple(
                a.ids[shared:] + text.ids(m.start, m.end) for a, m in zip(asked, found, strict=True)
            ),
            markers=len(asked[0].ids) - shared if asked else 0,
        )

    def _encode(self, words: str) -> tuple[int, ...]:
        if words not in self._label_ids:
            self._label_ids[words] = self._template.encode_text(words).ids
        return self._label_ids[words]

    def _tags(self, sentence: TrainingText, text: TextTokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
        tags, mention_indices = [0] * len(text.encoded.ids), [0] * len(text.encoded.ids)
        seen: dict[int, int] = {}
        for mention in sentence.mentions:
            tokens = text.tokens(mention.start, mention.end)
            number = self._numbers.get(mention.phrases[-1])
            if tokens is None or number is None:
                continue
            seen[number] = min(seen.get(number, 0) + 1, self._max_count)
            for token in range(*tokens):
                tags[token] = (1 if token == tokens[0] else 2) + 2 * number
                mention_indices[token] = seen[number]
        return tuple(tags), tuple(mention_indices)


def choose_phrases(
    sentence: TrainingText,
    most: int,
    rng: Random,
    *,
    max_absent: int | None = None,
    absent_share: float = 1.0,
    shuffled: bool = True,
) -> list[str]:
    """Up to ``most`` phrases of the inventory, chosen at random.

    Phrases with mentions come first. Of two and more, one without a mention is always among them where one
    may be; a single one has a mention wherever the sentence has any.

    Args:
        sentence: The text, its mentions and its inventory.
        most: Most phrases, at least 1.
        rng: Source of randomness.
        max_absent: Most phrases without a mention; None: any number.
        absent_share: Probability for each phrase without a mention that it may be chosen at all.
        shuffled: In random order, or else in the inventory's.
    """
    present = {phrase for mention in sentence.mentions for phrase in mention.phrases}
    there = [p for p in sentence.inventory if p in present]
    absent = [p for p in sentence.inventory if p not in present]
    rng.shuffle(there)
    rng.shuffle(absent)
    if absent_share < 1:
        absent = [p for p in absent if rng.random() < absent_share]
    absent = absent[:max_absent]
    kept = there[: max(1, most - 1)] if absent else there[:most]
    chosen = kept + absent[: most - len(kept)]
    if shuffled:
        rng.shuffle(chosen)
        return chosen
    return sorted(chosen, key=sentence.inventory.index)


def word_labels(
    phrases: Sequence[str], config: NerConfig, rng: Random, *, described: float = 0.0, aliased: float = 0.0
) -> dict[str, LabelWords]:
    """The words in which each phrase is asked for: the phrase, an alias, either with its description.

    Args:
        phrases: Phrases that are asked for.
        config: Aliases and descriptions; a phrase without any is asked for as it is.
        rng: Source of randomness.
        described: Probability of the description, in the form of a request that has one.
        aliased: Probability of an alias.
    """
    words = {}
    for phrase in phrases:
        known = config.labels.get(phrase, LabelConfig())
        name = phrase
        if aliased and known.aliases and rng.random() < aliased:
            name = rng.choice(known.aliases)
        asked = name
        if described and known.description and rng.random() < described:
            asked = config.template.definition.format(label=name, definition=known.description)
        words[phrase] = LabelWords(name, asked)
    return words


def separate_examples(tree: Tree) -> list[TrainingSequence]:
    """The tree as the paper's separate sequences: one per label, one per mention."""
    examples = []
    for branch in tree.branches:
        prompt = tree.root + branch.prompt
        examples.append(TrainingSequence(prompt, branch.count))
        for mention in branch.mentions:
            marker, answer = mention[: branch.markers], mention[branch.markers :]
            examples.append(TrainingSequence(prompt + branch.count + marker, (*answer, tree.end_id)))
    return examples

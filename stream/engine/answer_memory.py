"""Answers that went by, so that they can be drafted where they come again."""

from collections import OrderedDict
from collections.abc import Iterator

from stream.engine.prefix_tree import TokenIds


class AnswerMemory:
    """The answers given last to one key.

    Args:
        most: Answers remembered; the ones given longest ago go first.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._answers: OrderedDict[TokenIds, int] = OrderedDict()
        self._by_first: dict[int, list[TokenIds]] = {}
        self._given = 0
        self._invented = 0

    def add(self, answer: TokenIds, *, copied: bool) -> None:
        """Remember an answer.

        Args:
            answer: At least one token.
            copied: Whether it stands in the text it was given for.
        """
        self._given += 1
        self._invented += not copied
        if answer not in self._answers:
            self._by_first.setdefault(answer[0], []).append(answer)
        self._answers[answer] = self._answers.pop(answer, 0) + 1
        if len(self._answers) > self._most:
            oldest, _ = self._answers.popitem(last=False)
            alike = self._by_first[oldest[0]]
            alike.remove(oldest)
            if not alike:
                del self._by_first[oldest[0]]

    def within(self, text: TokenIds) -> Iterator[tuple[int, int]]:
        """Where remembered answers stand in a text: start and length."""
        known = self._by_first
        for at, token in enumerate(text):
            for answer in known.get(token, ()):
                if text[at : at + len(answer)] == answer:
                    yield at, len(answer)

    def usual(self, most: int = 3) -> list[TokenIds]:
        """The commonest answers, where answers to this key are no copies as a rule."""
        if 2 * self._invented <= self._given:
            return []
        return sorted(self._answers, key=self._answers.__getitem__, reverse=True)[:most]

"""Drafts from a text, and the drafters' learning; no model is run."""

import json
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.drafts.copying import MEMORY, NGRAM, SHAPE, AnswerMemory, CopyDrafter
from stream.engine.drafts.draft import START, Draft, DraftBuilder
from stream.engine.drafts.probe import ValueFeatures
from stream.engine.drafts.rates import LruTable
from stream.engine.kv_cache import KvCache
from stream.engine.prefix_tree import PrefixTree
from stream.engine.prompt import CopySource, PromptParts
from stream.engine.sequence import Sequence
from stream.engine.token_shapes import TokenKind, TokenShapes
from stream.generation import Prompt
from tests.engine.test_prefix_tree import SPEC

PIECES = [
    "<text>", "<label>", "<ask>", "<1>", "<2>", " the", " Bank", " of", " Japan", " beat", " PSV", " Ein",
    "dhoven", ",", " 3", " person", " place", " in", " said",
]  # fmt: skip
IDS = {piece: token for token, piece in enumerate(PIECES)}
END = len(PIECES)


@pytest.fixture
def shapes(tmp_path):
    """Shapes of a few pieces; those in angle brackets are control tokens."""
    added = [
        {"id": IDS[piece], "content": piece, "special": True} for piece in PIECES if piece.startswith("<")
    ]
    tokenizer = {"model": {"vocab": {piece.replace(" ", "▁"): token for piece, token in IDS.items()}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer | {"added_tokens": added}))
    return TokenShapes.load(tmp_path, END + 1)


def ids(*pieces: str) -> tuple[int, ...]:
    """Ids of pieces."""
    return tuple(IDS[piece] for piece in pieces)


def ask(*text: str, label: str = " place", k: str = "<1>", produced: tuple[int, ...] = ()) -> Sequence:
    """A mention prompt over a text."""
    prompt = Prompt((*ids("<text>"), *ids(*text), *ids("<label>", label, "<ask>", k)), 20, END)
    sequence = Sequence(prompt, Future())
    sequence.produced = list(produced)
    return sequence


def paths(draft: Draft | None) -> set[tuple[int, ...]]:
    """Every path of a draft from its start."""
    if draft is None:
        return set()
    found: dict[int, tuple[int, ...]] = {START: ()}
    for (parent, token), index in sorted(draft.children.items(), key=lambda item: item[1]):
        found[index] = (*found[parent], token)
    del found[START]
    return set(found.values())


def answer(drafter: CopyDrafter, sequence: Sequence, *pieces: str) -> None:
    """Let a sequence have an answer."""
    drafter.propose(sequence, 32, busy=False)
    sequence.produced = list(ids(*pieces))
    drafter.learn(sequence)


def test_drafts_start_at_names_and_continue_to_their_end(shapes):
    """By the priors, capitalised words are drafted whole, and few lower-case words are."""
    sequence = ask(" the", " Bank", " of", " Japan", " said", " in", " Ein", "dhoven")
    drafted = paths(CopyDrafter(shapes).propose(sequence, 32, busy=False))
    assert {ids(" Japan"), ids(" Ein", "dhoven"), ids(" Bank")} <= drafted
    assert ids(" said") not in drafted
    assert ids("dhoven") not in drafted


def test_drafts_expect_answers_in_the_order_of_the_text(shapes):
    """Of two answers, the first is drafted from the front and the second from the back."""
    drafter = CopyDrafter(shapes)
    text = (" Japan", " beat", " PSV", " in", " the", " Bank")
    for k in ("<1>", "<2>"):
        drafter.propose(ask(*text, k=k), 32, busy=False)
    first, second = (drafter.propose(ask(*text, k=k), 1, busy=False) for k in ("<1>", "<2>"))
    assert (paths(first), paths(second)) == ({ids(" Japan")}, {ids(" Bank")})


def test_drafts_are_fewer_while_the_machine_is_busy(shapes):
    """Drafts are then a proper subset of those of an idle machine."""
    text = (
        " Bank",
        " of",
        " Japan",
        " said",
        " in",
        " Ein",
        "dhoven",
        " beat",
        " PSV",
        ",",
        " the",
        " Bank",
        ",",
    )
    drafter = CopyDrafter(shapes)
    idle, busy = (paths(drafter.propose(ask(*text), 32, busy=busy)) for busy in (False, True))
    assert busy < idle


def test_drafts_learn_starts_of_answers_without_capitals(shapes):
    """After some lower-case answers, lower-case words are drafted for that label."""
    drafter = CopyDrafter(shapes)
    for _ in range(8):
        answer(drafter, ask(" the", " in", " said", " beat"), " said", " beat")
    assert ids(" said", " beat") in paths(drafter.propose(ask(" in", " said", " beat"), 32, busy=False))


def test_drafts_learn_starts_and_ends_of_answers_from_features(shapes):
    """Features distinguish words of equal shape, after some answers."""
    words = [" the", " in", " said", " beat", " person", " place"]
    draw = np.random.default_rng(0)
    features = ValueFeatures(KvCache(SPEC, 64))
    drafter = CopyDrafter(shapes, features)

    def asked() -> tuple[Sequence, tuple[str, ...]]:
        """A question over shuffled words whose answer, two words long, shows in the features alone."""
        text = tuple(draw.permutation(words))
        sequence, at = ask(*text), int(draw.integers(len(words) - 2))
        sequence.features = draw.normal(0, 0.1, (len(text), features.width)).astype(np.float32)
        sequence.features[at, 0] = sequence.features[at + 1, 1] = 1
        return sequence, text[at : at + 2]

    def drafted_whole() -> bool:
        sequence, right = asked()
        whole = ids(*right) in paths(drafter.propose(sequence, 2, busy=False))
        answer(drafter, sequence, *right)
        return whole

    found = [drafted_whole() for _ in range(400)]
    assert sum(found[:20]) < 14
    assert sum(found[-50:]) > 45


def test_drafts_keep_a_bounded_number_of_texts(shapes):
    """All tables are bounded, even if no answer is a copy and none teaches anything."""
    drafter = CopyDrafter(shapes)
    kept = (drafter._predictions, drafter._texts, drafter._cached_features, drafter._memories)
    for number in range(2000):
        text = [PIECES[5 + (number >> shift) % 14] for shift in (0, 3, 6, 9)]
        answer(drafter, ask(*text, label=PIECES[5 + number % 14]), " PSV", " PSV", " PSV")
    assert all(len(each) <= 256 for each in kept)


def test_value_features_are_the_values_of_the_text(shapes):
    """Rows for the text's tokens alone, in their order, and none before all of them are cached."""
    sequence = ask(" the", " Bank", " of")
    cache = KvCache(SPEC, 64)
    tree, features = PrefixTree(cache), ValueFeatures(cache)
    parts = PromptParts.split(sequence.prompt.ids, shapes)
    assert features.of(sequence, parts) is None
    sequence.node = tree.insert(sequence.prompt.ids)
    tree.split(sequence.node, 2)
    assert features.of(sequence, parts) is None
    for node in reversed(list(sequence.node.lineage())):
        slots = tree.allocate(node)
        for _, values in cache.layers:
            values[slots] = np.arange(node.start, node.end)[:, None] + [[1.0] * SPEC.kv_width]
    found = features.of(sequence, parts)
    assert found.shape == (3, features.width)
    np.testing.assert_allclose(np.linalg.norm(found[:, : SPEC.kv_width], axis=1), 1, rtol=1e-5)
    first = cache.layers[0][1][sequence.node.parent.slots[1]]
    np.testing.assert_allclose(found[0, : SPEC.kv_width], first / np.linalg.norm(first), rtol=1e-5)


def test_drafts_remember_answers_of_the_same_label(shapes):
    """An earlier answer is drafted by memory where it occurs in another text."""
    drafter = CopyDrafter(shapes)
    answer(drafter, ask(" the", " Bank", " of", " Japan", " said"), " Bank", " of", " Japan")
    draft = drafter.propose(ask(" in", " Bank", " of", " Japan", ","), 32, busy=False)
    assert ids(" Bank", " of", " Japan") in paths(draft)
    assert draft.sources.count(MEMORY) == 3
    other = drafter.propose(ask(" in", " Bank", " of", " Japan", ",", label=" person"), 32, busy=False)
    assert MEMORY not in other.sources
    assert SHAPE in other.sources


def test_drafts_continue_the_produced_tokens(shapes):
    """After some tokens, their continuations in the text are drafted, the longest match first."""
    text = (" Japan", " beat", " PSV", " in", " the", " beat", " Bank")
    draft = CopyDrafter(shapes).propose(ask(*text, produced=ids(" Japan", " beat")), 32, busy=False)
    assert draft.ids[0] == IDS[" PSV"]
    assert set(draft.sources) == {NGRAM}


def test_drafts_continue_nothing_outside_the_text(shapes):
    """Tokens outside the text have no continuation."""
    assert CopyDrafter(shapes).propose(ask(" Japan", produced=ids(" PSV")), 32, busy=False) is None


def test_drafts_repeat_usual_answers_that_are_no_copies(shapes):
    """If answers are no spans of the text, the most frequent ones are drafted."""
    drafter = CopyDrafter(shapes)
    for _ in range(3):
        answer(drafter, ask(" the", " in"), " PSV", ",")
    assert ids(" PSV", ",") in paths(drafter.propose(ask(" said"), 32, busy=False))


@given(data=st.data())
def test_drafts_are_bounded_spans_of_the_text(data):
    """For any text and history a draft keeps its width and depth, and every path is in the text."""
    kinds = data.draw(st.lists(st.integers(1, 7), min_size=20, max_size=20))
    spaced = data.draw(st.lists(st.booleans(), min_size=20, max_size=20))
    shapes = TokenShapes(np.array(kinds), np.array(spaced))
    text = tuple(data.draw(st.lists(st.integers(0, 19), min_size=1, max_size=30)))
    sequence = Sequence(Prompt(text, data.draw(st.integers(2, 9)), 99), Future())
    drafter = CopyDrafter(shapes)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        sequence.produced = list(text[at : at + 3])
        drafter.propose(sequence, 8, busy=False)
        drafter.learn(sequence)
    sequence.produced = list(text[:1]) if data.draw(st.booleans()) else []
    width = data.draw(st.integers(1, 40))
    draft = drafter.propose(sequence, width, busy=data.draw(st.booleans()))
    for path in paths(draft):
        assert CopySource.analyse(text, shapes).find(path) is not None
        assert len(path) < sequence.remaining
    assert draft is None or len(draft) <= width


def test_draft_tokens_attend_to_their_own_path(shapes):
    """Paths share their common prefix; each token attends to its ancestors and itself."""
    builder = DraftBuilder(10)
    builder.add_chain([5, 6, 7], "a")
    builder.add_chain([5, 8], "b")
    draft = builder.build()
    assert draft.ids == [5, 6, 7, 8]
    assert draft.depths == [0, 1, 2, 1]
    assert draft.mask.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]


def test_draft_builder_takes_no_more_than_its_width():
    """Tokens beyond the width are left out, with their descendants."""
    builder = DraftBuilder(2)
    builder.add_chain([1, 2, 3], "a")
    assert builder.add(START, 9, "b") is None
    assert builder.build().ids == [1, 2]


def test_prompt_is_split_into_its_parts(shapes):
    """The text is the first run of ordinary tokens; prompts with the same question have the same key."""
    first = PromptParts.split(ask(" Japan", " beat").prompt.ids, shapes)
    second = PromptParts.split(ask(" PSV", k="<2>").prompt.ids, shapes)
    count = PromptParts.split((*ids("<text>"), *ids(" Japan"), *ids("<label>", " place", "<ask>")), shapes)
    assert first.text == ids(" Japan", " beat")
    assert first.key == second.key != count.key
    assert (first.tail, second.tail) == (ids("<ask>", "<1>"), ids("<ask>", "<2>"))
    assert count.tail == ()
    assert PromptParts.split(ids("<text>", "<label>"), shapes) is None


def test_token_shapes_read_byte_level_pieces(tmp_path):
    """Byte-level pieces have their spaces, capitals, digits, marks, and parts of characters."""
    kinds = {
        "ĠJapan": TokenKind.CAPITAL, "ĠUN": TokenKind.UPPER, "an": TokenKind.LOWER,
        "Ġ19": TokenKind.DIGIT, "-": TokenKind.MARK, "ÃĦ": TokenKind.CAPITAL,
        "æĹ¥": TokenKind.CASELESS, "æ": TokenKind.CASELESS,
        "Ĺ¥": TokenKind.PART,
    }  # fmt: skip
    tokenizer = {
        "model": {"vocab": {piece: token for token, piece in enumerate(kinds)}},
        "decoder": {"type": "ByteLevel"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    shapes = TokenShapes.load(tmp_path, len(kinds))
    assert [TokenKind(kind) for kind in shapes.kinds] == list(kinds.values())
    assert shapes.spaced.tolist() == [piece.startswith("Ġ") for piece in kinds]


def test_token_shapes_do_without_a_tokenizer(tmp_path):
    """Without tokenizer.json, or with a damaged one, all tokens have one shape."""
    assert set(TokenShapes.load(tmp_path, 5).kinds) == {TokenKind.CASELESS}
    (tmp_path / "tokenizer.json").write_text("{}")
    assert set(TokenShapes.load(tmp_path, 5).kinds) == {TokenKind.CASELESS}


def test_answer_memory_is_bounded():
    """The oldest answers are dropped."""
    memory = AnswerMemory(most=2)
    for token in (1, 2, 1, 3):
        memory.add((token, 9), copied=True)
    assert list(memory.within((1, 9, 2, 9, 3, 9))) == [(0, 2), (4, 2)]


def test_lru_table_keeps_the_keys_used_last():
    """The least recently used key is evicted."""
    table = LruTable(lambda key: [key], 2)
    first = table.get(1)
    table.get(2)
    assert table.get(1) is first
    table.get(3)
    assert table.peek(2) is None
    assert table.peek(1) is first
    assert len(table) == 2

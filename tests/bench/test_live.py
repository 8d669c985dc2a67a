"""Load on a server that runs, against a generator in memory."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stream.bench import live
from stream.bench.cases import CaseMaker
from stream.bundled import model_folder
from stream.corpora.document import AnnotatedDocument, GoldEntity
from stream.generation import Completion, Prompt
from stream.inference.contract import NO_END
from stream.ner.template import PromptTemplate

_TEXT = "Ada Lovelace met Charles Babbage."
_DOCUMENT = AnnotatedDocument(
    text=_TEXT,
    entities=[
        GoldEntity(start=0, end=12, text="Ada Lovelace", label="person"),
        GoldEntity(start=17, end=32, text="Charles Babbage", label="person"),
    ],
)


@dataclass
class Counting:
    """Notes the prompts, and how many were in flight at most."""

    prompts: list[Prompt] = field(default_factory=list)
    now: int = 0
    most: int = 0

    async def generate(self, prompt: Prompt) -> Completion:
        """Answer in a millisecond."""
        self.prompts.append(prompt)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return Completion((1,) * prompt.max_new_tokens, (0.0,) * prompt.max_new_tokens)


@pytest.fixture
def maker() -> CaseMaker:
    """Cases of two labels."""
    return CaseMaker(PromptTemplate.load(model_folder(None)), ["person", "location"])


async def test_live_methods_ask_for_the_gold_lengths(maker: CaseMaker) -> None:
    """Two counts and two mentions, or one list: each answer has its gold length, and no id ends it."""
    (case,) = maker.cases([_DOCUMENT])
    asked = {}
    for method, decode in live.METHODS.items():
        generator = Counting()
        await decode(generator, case)
        asked[method] = [prompt.max_new_tokens for prompt in generator.prompts]
        assert all(prompt.end_id == NO_END and not prompt.stop_ids for prompt in generator.prompts)
    counts = [label.count.steps for label in case.labels]
    mentions = [mention.steps for mention in case.labels[0].mentions]
    assert asked == {"padellm": counts + mentions, "autoreg_struct": [case.struct.steps]}
    assert case.struct.steps > sum(mentions)


async def test_live_keeps_a_number_of_documents_in_flight(maker: CaseMaker) -> None:
    """Every document is decoded once, never more than the number asked for at a time."""
    generator = Counting()
    cases = maker.cases([_DOCUMENT] * 10)
    serving = await live._serve(live.METHODS["autoreg_struct"], generator, cases, 3)
    assert (len(generator.prompts), generator.most) == (10, 3)
    assert 0 < serving.p50_ms <= serving.p99_ms


def test_live_texts_of_two_turns_are_unlike() -> None:
    """No text begins as another of any turn does, and each entity is still at its place."""
    turns = [live._unlike([_DOCUMENT, _DOCUMENT], turn) for turn in range(2)]
    documents = [document for turn in turns for document in turn]
    assert len({document.text.partition(" Ada")[0] for document in documents}) == 4
    for document in documents:
        for entity in document.entities:
            assert document.text[entity.start : entity.end] == entity.text


async def test_live_measures_every_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each method has a run for each number of documents in flight, and its figures as JSON."""
    data = tmp_path / "data.jsonl"
    data.write_text(_DOCUMENT.model_dump_json() + "\n")
    generator = Counting()

    async def close() -> None:
        return None

    generator.close = close
    monkeypatch.setattr(live, "TritonGenerator", lambda *arguments, **options: generator)
    runs = await live.run(data, limit=1, in_flight=(1, 2))
    live.show(runs)
    assert [(one["method"], one["in_flight"]) for one in live.summary(runs)] == [
        ("padellm", 1),
        ("autoreg_struct", 1),
        ("padellm", 2),
        ("autoreg_struct", 2),
    ]

"""Load for benchmarks, and its throughput and latency."""

import asyncio
import json

import pytest

from stream.bench.load import Serving, bench_documents, serve_at_rate, serve_saturated, unlike_copies
from stream.bundled import sample_documents
from stream.contract.messages import Document
from stream.errors import ConfigurationError

DOCUMENTS = [Document(text=f"text {number}") for number in range(12)]


class Slow:
    """Extracts nothing, in a fixed time, and knows how many it had at once."""

    def __init__(self, seconds):
        self.seconds, self.now, self.most, self.texts = seconds, 0, 0, []

    async def extract(self, document):
        """Take the time."""
        self.texts.append(document.text)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1


async def test_serving_saturated_keeps_as_many_in_flight_as_asked():
    """No more than the number asked for, and no fewer while there are documents."""
    slow = Slow(0.01)
    run = await serve_saturated(slow, DOCUMENTS, in_flight=3)
    assert slow.most == 3
    assert sorted(slow.texts) == sorted(document.text for document in DOCUMENTS)
    assert run.p50_ms >= 10


async def test_serving_at_a_rate_does_not_wait_for_slow_documents():
    """Documents arrive on time although earlier ones are not done, and their wait counts."""
    slow = Slow(0.1)
    run = await serve_at_rate(slow, DOCUMENTS, rate=200)
    assert slow.most > 3
    assert run.p50_ms >= 100


def test_serving_median_takes_each_figure_by_itself():
    """One disturbed run of three changes nothing."""
    runs = [Serving(10, 1, 2), Serving(1, 90, 99), Serving(12, 2, 3)]
    assert Serving.median(runs) == Serving(10, 2, 3)


def test_serving_copies_share_no_beginning():
    """Texts of different runs, and of one run, differ from their first token on: no prefix can be kept."""
    copies = unlike_copies(DOCUMENTS)
    texts = [document.text for _ in range(3) for document in next(copies)]
    assert len({text.split()[0] for text in texts}) == len(texts)
    assert [text.split(maxsplit=1)[1] for text in texts] == [document.text for document in DOCUMENTS] * 3


def test_serving_needs_no_more_than_one_document():
    """Percentiles of a single document are its own time."""
    assert Serving.of([0.5], 1.0) == Serving(1.0, 500.0, 500.0)


def test_load_takes_the_samples_by_default():
    """Without a file the documents are the samples, as many as wanted."""
    texts = [json.loads(line)["text"] for line in sample_documents().read_text("utf-8").splitlines()]
    assert [document.text for document in bench_documents(None, 3)] == texts[:3]
    assert len(bench_documents(None, 10_000)) == len(texts)


def test_load_takes_annotated_documents(tmp_path):
    """Of an annotated file the texts are taken; a file without documents is named."""
    file = tmp_path / "dev.jsonl"
    entity = {"start": 0, "end": 3, "text": "Ann", "label": "PER"}
    file.write_text(json.dumps({"id": "1", "text": "Ann", "entities": [entity]}))
    assert bench_documents(str(file), 5) == [Document(id="1", text="Ann")]
    file.write_text("")
    with pytest.raises(ConfigurationError, match=r"dev\.jsonl holds no document"):
        bench_documents(str(file), 5)

import unicodedata
from pathlib import Path

import pytest

from stream.contract.messages import Document
from stream.contract.record import Record
from stream.settings import Settings
from stream.worker.codec import decode_document

FILE = Path(__file__).parent.parent / "stream/local/samples/documents.jsonl"
FREE = {"CC BY", "CC BY 4.0", "CC BY-SA 3.0", "CC BY-SA 4.0", "MIT"}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """The samples as the worker reads them."""
    settings = Settings()
    return [
        decode_document(Record("documents", 0, offset, value=line.encode()), settings)
        for offset, line in enumerate(FILE.read_text(encoding="utf-8").split("\n"))
        if line
    ]


def test_samples_are_documents_that_the_worker_takes(documents):
    """There are 200 sample documents or more, each passes the worker's checks, and no id occurs twice."""
    assert len(documents) >= 200
    assert len({document.id for document in documents}) == len(documents)


def test_samples_name_their_source_and_a_free_licence(documents):
    """Every sample names where its text comes from and a licence that allows handing it on."""
    assert all(document.metadata["source"] for document in documents)
    assert {document.metadata["licence"] for document in documents} <= FREE


def test_samples_look_like_a_days_traffic(documents):
    """Some samples are long, some Chinese, some awkward, and some bring labels, a threshold or a policy."""
    texts = [document.text for document in documents]
    assert sum(len(text) > 3_000 for text in texts) >= 5
    assert max(map(len, texts)) > 15_000
    assert sum("CJK" in unicodedata.name(text[0], "") for text in texts) >= 10
    assert any("\r\n" in text for text in texts)
    assert any("\u200d" in text for text in texts)
    assert any(unicodedata.normalize("NFC", text) != text for text in texts)
    assert {type(document.labels) for document in documents} == {list, dict, type(None)}
    assert any(document.threshold for document in documents)
    assert len({document.policy for document in documents if document.policy}) >= 3

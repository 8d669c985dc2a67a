"""The Python API, with the bundled model."""

import asyncio
import itertools
import threading

import pytest

from stream.api import open_model
from stream.errors import CheckpointError, InferenceUnavailable

TEXT = "Angela Merkel met Emmanuel Macron in Paris."
PERSONS = ["Angela Merkel", "Emmanuel Macron"]


@pytest.fixture(scope="module")
def model():
    """The bundled model, open."""
    with open_model() as opened:
        yield opened


def texts_of(extraction):
    """The entities' texts."""
    return [entity.text for entity in extraction.entities]


def test_api_extracts_one_text(model):
    """Entities carry their offsets in the text."""
    entities = model.extract(TEXT, labels=["person"]).entities
    assert [entity.text for entity in entities] == PERSONS
    assert all(TEXT[entity.start : entity.end] == entity.text for entity in entities)


def test_api_asks_for_the_models_labels_by_default(model):
    """A call that names no label asks for the default ones."""
    assert tuple(model.extract(TEXT).labels) == model.default_labels


def test_api_extracts_many_texts_in_order(model):
    """Results keep the order of the texts, which may be endless."""
    texts = (f"{name} lives in Rome." for name in itertools.cycle(PERSONS))
    found = model.extract_many(texts, labels={"person": "a human being"}, in_flight=3)
    assert [texts_of(one) for one in itertools.islice(found, 4)] == [[PERSONS[0]], [PERSONS[1]]] * 2


async def test_api_extracts_under_asyncio(model):
    """The asyncio twins give the same answers, from any event loop."""
    one, two = await asyncio.gather(model.extract_async(TEXT, labels=["person"]), model.extract_async("Ada."))
    many = [texts_of(each) async for each in model.extract_many_async([TEXT], labels=["person"])]
    assert (texts_of(one), many) == (PERSONS, [PERSONS])
    assert two.coverage.windows == 1


def test_api_serves_threads_at_once(model):
    """Several threads may extract with one model."""
    found = {}

    def extract(number):
        found[number] = texts_of(model.extract(TEXT, labels=["person"]))

    threads = [threading.Thread(target=extract, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [PERSONS] * 4


@pytest.mark.parametrize(
    "arguments",
    [{"text": ""}, {"text": "Ada", "threshold": 1.5}, {"text": "Ada", "labels": [1]}],
    ids=["no text", "threshold", "label"],
)
def test_api_refuses_arguments_outside_their_range(model, arguments):
    """A wrong argument is a ValueError before the model is asked."""
    with pytest.raises(ValueError, match=next(reversed(arguments))):
        model.extract(**arguments)


async def test_api_closed_model_says_so():
    """A closed model refuses, from threads and from a running event loop, and closes twice."""
    async with open_model("padellm-small-zh") as model:
        assert texts_of(await model.extract_async("王小明住在北京。")) == ["王小明"]
        model.close()
    with pytest.raises(InferenceUnavailable, match="closed"):
        model.extract("Ada")
    model.close()


def test_api_names_a_folder_without_a_model(tmp_path):
    """A folder that holds no model is refused by name."""
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        open_model(tmp_path)

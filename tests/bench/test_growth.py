"""How cost grows, and its chart."""

from xml.etree import ElementTree as ET

import pytest

from stream.bench.charts import line_chart
from stream.bench.growth import Growth, Point, exponent
from stream.bench.strategies import Opener
from stream.engine.model.session import Model
from stream.ner.template import PromptTemplate
from tests.tiny_model import write_tiny_checkpoint

TEXTS = [f"Ann {number} met Bo in Rome. It rained." for number in range(80)]


@pytest.fixture(scope="module")
def growth(tmp_path_factory):
    """Over a tiny model."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")
    opener = Opener(Model.load(folder, threads=1), PromptTemplate.load(folder))
    return Growth(opener, TEXTS, ["PER", "LOC"], repeats=2)


async def test_growth_longer_texts_read_more(growth):
    """Every point is the size asked for, and a longer text takes more tokens and passes."""
    short, long = await growth.text_tokens((20, 400))
    assert (short.size, long.size) == (20, 400)
    assert long.read > short.read
    assert long.passes > short.passes


async def test_growth_mentions_are_forced(growth):
    """No mention takes one pass, which reads the counts; some take more."""
    none, some = await growth.mentions((0, 3))
    assert none.passes == 1
    assert some.passes > 1
    assert some.read > none.read


async def test_growth_labels_and_documents_in_flight(growth):
    """Labels beyond those the checkpoint knows are made up; documents in flight share one bounded pool."""
    few, many = await growth.labels((1, 6))
    assert many.read > few.read
    (point,) = await growth.in_flight((4,))
    assert 0 < point.slots <= 1


def test_growth_exponent_is_one_for_what_grows_in_proportion():
    """Twice the size at twice the cost is 1; at four times the cost 2."""
    sizes = (0, 1, 2, 4, 8)
    assert exponent([Point(size, 3 * size, 0, 0, 0) for size in sizes]) == pytest.approx(1)
    assert exponent([Point(size, size**2, 0, 0, 0) for size in sizes]) == pytest.approx(2)


def test_line_chart_is_well_formed_and_shows_every_point():
    """The chart is XML, with a dot for every point and its names shown as they are."""
    root = ET.fromstring(line_chart("a < b", "x & y", "ms", [(1, 2.0), (10, 30.0), (100, 200.0)]))
    names = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{names}circle")) == 3
    assert root.find(f"{names}title").text == "a < b"

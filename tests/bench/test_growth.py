"""Growth of cost, and its charts."""

from xml.etree import ElementTree as ET

import pytest

from stream.bench.charts import growth_charts
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


def test_growth_chart_shows_every_point_beside_growth_in_proportion():
    """Each axis has a file, a tick and a dot for every size, and a dashed line."""
    axis = [Point(size, cost, 0, 0, 0) for size, cost in ((0, 1.0), (1, 2.0), (10, 30.0), (100, 200.0))]
    charts = growth_charts({"in_flight": axis, "text": axis})
    assert set(charts) == {"growth-in-flight.svg", "growth-text.svg"}
    root = ET.fromstring(charts["growth-in-flight.svg"])
    names = "{http://www.w3.org/2000/svg}"
    shown = [text.text for text in root.iter(f"{names}text")]
    assert {"1", "10", "100", "documents in flight", "ms"} <= set(shown)
    assert not any("$" in text for text in shown)
    assert sum("stroke-dasharray" in (path.get("style") or "") for path in root.iter(f"{names}path")) == 1
    lines = [group for group in root.iter(f"{names}g") if (group.get("id") or "").startswith("line2d")]
    assert 3 in [len(list(line.iter(f"{names}use"))) for line in lines]

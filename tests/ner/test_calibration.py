"""Scores as probabilities."""

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.messages import Document, Policy
from stream.errors import CheckpointError
from stream.ner.calibration import Calibration, Temperature
from stream.ner.config import NerConfig, store_calibration
from stream.ner.extractor import Extractor
from stream.ner.template import PromptTemplate
from tests.ner.oracle import Oracle, tiny_template
from tests.tiny_model import tiny_ner_config

temperatures = st.builds(Temperature, temperature=st.floats(0.02, 100), offset=st.floats(-20, 20))


@given(temperatures, st.floats(0, 1), st.floats(0, 1))
def test_calibration_keeps_the_order_of_one_label(temperature, one, other):
    """A higher score stays the higher one, and every score becomes a probability, 0 and 1 as well."""
    low, high = (temperature.probability(score) for score in sorted((one, other)))
    assert 0 <= low <= high <= 1


@given(st.floats(1, 10), st.floats(-5, 5), st.floats(1e-6, 1 - 1e-6))
def test_calibration_does_not_enlarge_rounding(temperature, offset, score):
    """A millionth more or less in a score stays far below a thousandth, however sure the model is."""
    calibrated = Temperature(temperature=temperature, offset=offset)
    moved = calibrated.probability(score + 1e-6) - calibrated.probability(score - 1e-6)
    assert moved <= 6e-4


def test_calibration_of_one_and_none_is_nearly_the_score():
    """A temperature of 1 without an offset leaves scores where they are, to the softening."""
    for score in (0.0, 0.2, 0.5, 0.9, 1.0):
        assert Temperature(temperature=1).probability(score) == pytest.approx(score, abs=0.002)


def calibrated_template(calibration):
    """The tiny template with a calibration in its configuration."""
    template = tiny_template()
    config = template.config.model_copy(update={"calibration": calibration})
    return PromptTemplate(config, template._tokenizer, template.end_id)


def extract(template, document, scores):
    """Ann and Rome with the given scores, by label phrase; "Zed" is in no text."""
    gold = {"person": ["Ann", "Zed"], "location": ["Ann"]}
    oracle = Oracle(
        template, lambda _, label: gold.get(label, []), score=lambda label, mention: scores[label]
    )
    return asyncio.run(Extractor(oracle, template).extract(document))


def test_calibration_scores_entities_and_what_was_removed():
    """Every mention's score goes through its label's temperature, named by alias or not, or the default's."""
    person, default = Temperature(temperature=2, offset=1), Temperature(temperature=3)
    template = calibrated_template(Calibration(default=default, labels={"person": person}))
    document = Document(text="Ann", labels=["PER", "location"], policy=Policy.MULTI)
    result = extract(template, document, {"person": 0.9, "location": 0.8})
    scores = {(one.label, one.text): one.score for one in (*result.entities, *result.removed)}
    assert scores[("PER", "Ann")] == pytest.approx(person.probability(0.9))
    assert scores[("PER", "Zed")] == pytest.approx(person.probability(0.9))
    assert scores[("location", "Ann")] == pytest.approx(default.probability(0.8))


def test_calibration_decides_which_label_wins_and_what_is_below_the_threshold():
    """What competes is compared by the score that is published, and so is the threshold."""
    unsure = Temperature(temperature=1, offset=-3)
    template = calibrated_template(Calibration(default=Temperature(temperature=1), labels={"person": unsure}))
    result = extract(
        template, Document(text="Ann", labels=["person", "location"]), {"person": 0.9, "location": 0.8}
    )
    assert [(one.label, one.text) for one in result.entities] == [("location", "Ann")]
    document = Document(text="Ann", labels=["person"], threshold=0.5)
    assert extract(template, document, {"person": 0.9, "location": 0.8}).entities == []


def test_calibration_is_stored_beside_everything_else(tmp_path):
    """Only that field of the file changes, and the template keeps its hash."""
    config = tiny_ner_config()
    path = tmp_path / "ner_config.json"
    before = json.loads(config.model_dump_json()) | {"name": "names \u6771"}
    path.write_text(json.dumps(before))
    calibration = Calibration(default=Temperature(temperature=1.5, offset=0.25))
    assert store_calibration(tmp_path, calibration) == path
    after = json.loads(path.read_text())
    assert after.pop("calibration") == {"default": {"temperature": 1.5, "offset": 0.25}, "labels": {}}
    assert after == {name: value for name, value in before.items() if name != "calibration"}
    loaded = NerConfig.load(tmp_path)
    assert loaded.calibration == calibration
    assert loaded.template_hash == config.template_hash
    assert list(tmp_path.iterdir()) == [path]


def test_calibration_of_a_missing_checkpoint_names_the_file(tmp_path):
    """Where nothing can be written the file is named."""
    with pytest.raises(CheckpointError, match=r"none.ner_config\.json"):
        store_calibration(tmp_path / "none", Calibration(default=Temperature(temperature=1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_calibration_refuses_what_is_no_temperature(temperature):
    """A temperature is above zero: anything else would turn the order of scores around."""
    with pytest.raises(ValueError, match="Input should be"):
        Temperature(temperature=temperature)

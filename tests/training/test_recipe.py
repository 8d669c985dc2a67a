"""Training recipes."""

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import stream.training
from stream.baselines.config import Baseline
from stream.errors import ConfigurationError
from stream.training.recipe import _RENAMED, Recipe
from stream.training.sections import Section, TrainingConfig

GUIDE = Path(__file__).parents[2] / "docs" / "training.md"
BUNDLED = Path(stream.training.__file__).parent / "recipes" / "padellm-small-en.toml"


def test_config_bundled_recipe_loads_and_names_every_phrase():
    """The recipe of the bundled model is valid, and its labels are exactly the phrases it trains."""
    recipe = Recipe.load(BUNDLED)
    trained = {
        phrase for corpus in recipe.corpora for phrases in corpus.labels.values() for phrase in phrases
    }
    assert trained == set(recipe.ner.labels)
    assert [recipe.ner.phrase(label) for label in ("PER", "LOC", "ORG", "MISC")] == list(
        recipe.ner.default_labels
    )


@pytest.mark.parametrize("path", sorted(BUNDLED.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_config_every_recipe_that_is_shipped_loads(path):
    """Recipes are valid, and know every label that they ask for by default."""
    recipe = Recipe.load(path)
    assert set(recipe.ner.default_labels) <= set(recipe.phrases)
    assert Path(recipe.output).name == path.stem
    assert path.stem.startswith(recipe.ner.name)


def test_config_recipe_of_the_documentation_loads(tmp_path):
    """The short recipe for a set of one's own is whole."""
    (block,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "recipe.toml"
    path.write_text(block, encoding="utf-8")
    recipe = Recipe.load(path)
    assert recipe.phrases == recipe.ner.default_labels
    assert (GUIDE.parents[1] / recipe.init_from / "config.json").is_file()


def test_config_adapters_are_put_on_a_large_checkpoint_that_stays_small():
    """The recipe for 8 billion parameters has 16-bit weights, keeps no activations, averages nothing."""
    recipe = Recipe.load(BUNDLED.with_name("lora-8b.toml"))
    assert recipe.lora is not None
    assert recipe.training.weights == "bfloat16"
    assert recipe.training.gradient_checkpointing
    assert not recipe.training.ema_decay
    assert recipe.losses.deepest_layer == 0


def test_config_bundled_recipe_leaves_the_held_out_abstracts_alone():
    """The corpus that holds the abstracts of the GENIA development set is not trained on."""
    assert "jnlpba" not in {corpus.name for corpus in Recipe.load(BUNDLED).corpora}


def test_config_folders_can_be_given_beside_the_file():
    """Data and output folders on the command line replace the recipe's."""
    recipe = Recipe.load(BUNDLED, data=Path("d"), output=Path("o"))
    assert (recipe.data, recipe.output) == (Path("d"), Path("o"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("until = 0.784", "until = 0.1"), "stages must end at rising shares"),
        (('main = "padellm-conll03"', 'main = "other"'), "main corpus 'other' is not among the corpora"),
        (("seed = 1", 'seed = 1\nwithout_corpora = ["padellm-conll03"]'), "is among without_corpora"),
        (("tagging_layer = 5", "tagging_layer = 9"), "reads layer 9, the model has 8"),
        (("seed = 1", "sead = 1"), "sead"),
        (("seed = 1", "seed ="), "is not TOML"),
    ],
)
def test_config_wrong_recipe_says_what_is_wrong(tmp_path, change, message):
    """A recipe that cannot work is refused before anything is loaded, and the message says where."""
    path = tmp_path / "recipe.toml"
    path.write_text(BUNDLED.read_text().replace(*change))
    with pytest.raises(ConfigurationError, match=message):
        Recipe.load(path)


def test_config_a_format_can_be_given_beside_the_file():
    """A baseline of a recipe differs in its format and its folder, which may be named."""
    recipe, other = Recipe.load(BUNDLED), Recipe.load(BUNDLED, format="autoreg_aug")
    assert (recipe.baseline, other.baseline) == (None, Baseline.AUTOREG_AUG)
    assert other.output == Path(f"{recipe.output}-autoreg_aug")
    assert other == recipe.model_copy(update={"format": other.format, "output": other.output})
    assert Recipe.load(BUNDLED, format="onestep", output=Path("o")).output == Path("o")
    assert Recipe.load(BUNDLED, format="padellm") == recipe
    with pytest.raises(ConfigurationError, match="'padellm'"):
        Recipe.load(BUNDLED, format="other")


def test_config_missing_recipe_is_named(tmp_path):
    """A recipe that is not there is a configuration error."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Recipe.load(tmp_path / "none.toml")


SECTIONS = sorted(Section.__subclasses__(), key=lambda section: section.__name__)


def numbers(schema: dict) -> Iterator[dict]:
    """The schemas of all numbers in a field, in arrays, tables and alternatives too."""
    if schema.get("type") in {"number", "integer"}:
        yield schema
    inner = [schema.get("items"), schema.get("additionalProperties"), *schema.get("prefixItems", [])]
    for each in (*inner, *schema.get("anyOf", [])):
        if isinstance(each, dict):
            yield from numbers(each)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_config_every_number_has_its_bounds(section):
    """No section has a number that may be negative, and none takes one that is not finite."""
    fields = section.model_json_schema()["properties"]
    unbounded = [
        name
        for name, field in fields.items()
        for number in numbers(field)
        if number.get("minimum", number.get("exclusiveMinimum", -1)) < 0
    ]
    assert not unbounded
    assert section.model_config["allow_inf_nan"] is False


WRONG = [
    ("seed", -1),
    ("threads", 0),
    ("export_minutes", math.inf),
    ("training.warm_up_steps", 0),
    ("training.betas", [0.9, 1.0]),
    ("training.betas", [-0.1, 0.9]),
    ("training.max_grad_norm", 0.0),
    ("training.weight_decay", -0.1),
    ("training.weight_decay", math.nan),
    ("training.ema_decay", 1.0),
    ("training.lr_schedule.0.learning_rate", math.inf),
    ("augmentation.raw", 7.0),
    ("augmentation.foreign_names", -0.5),
    ("augmentation.max_labels", 0),
    ("augmentation.max_text_tokens", 0),
    ("pretraining.weight_decay", 2.0),
    ('pretraining.files."enwiki-2015-AA.txt.gz"', 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_config_a_number_out_of_its_bounds_is_refused_by_name(tmp_path, name, value):
    """A value that cannot work is refused before anything is loaded, and the message names its field."""
    *path, last = re.findall(r'"[^"]+"|[^.]+', name)
    place = values = tomllib.loads(BUNDLED.read_text(encoding="utf-8"))
    for part in path:
        place = place[int(part)] if part.isdecimal() else place.setdefault(part, {})
    place[last.strip('"')] = value
    with pytest.raises(ValidationError, match=re.escape(last.strip('"'))):
        Recipe.model_validate(values)


@given(
    st.builds(
        dict,
        lr_schedule=st.lists(
            st.builds(dict, steps=st.integers(1, 50), learning_rate=st.floats(1e-9, 100)),
            min_size=1,
            max_size=3,
        ),
        warm_up_steps=st.integers(1, 100),
    )
)
def test_config_every_schedule_within_the_bounds_has_a_rate_for_each_step(values):
    """From the first step to the last the rate is finite, not negative, and not above its cycle's."""
    plan = TrainingConfig.model_validate(values)
    highest = max(cycle.learning_rate for cycle in plan.lr_schedule)
    rates = [plan.learning_rate(step) for step in range(plan.steps)]
    assert all(0 < rate <= highest for rate in rates)


RENAMED = [
    ('initial="folder"', "`initial` is now `init_from`"),
    ("optimiser.average=0.9", "`optimiser.average` is now `training.ema_decay`"),
    ("losses.ordinal=0.1", "`losses.ordinal` is now `losses.mention_index`"),
    ("pretraining.row_tokens=8", "`pretraining.row_tokens` is now `pretraining.max_seq_len`"),
]


@pytest.mark.parametrize(("change", "message"), RENAMED)
def test_config_an_old_name_is_refused_with_the_new_one(change, message):
    """A recipe written for an earlier version is told each name that has changed."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Recipe.load(BUNDLED, changes=[change])


def test_config_every_new_name_exists():
    """Where an old name is refused, the new one is a field of the recipe."""
    for new in _RENAMED.values():
        section, _, field = new.rpartition(".")
        model = Recipe.model_fields[section].annotation if section else Recipe
        for each in get_args(model) or (model,):
            if each is not type(None):
                assert (field or new) in each.model_fields


def test_config_a_malformed_change_is_refused():
    """The message names the option and the form that it takes."""
    for change in ("x", "seed=", "seed.x=1"):
        with pytest.raises(ConfigurationError, match=f"invalid --set '{change}'"):
            Recipe.load(BUNDLED, changes=[change])


def test_config_learning_rate_falls_in_cycles():
    """The rate warms up, falls to 0 over each cycle, and is 0 after the last."""
    cycles = [{"steps": 100, "learning_rate": 0.2}, {"steps": 50, "learning_rate": 0.1}]
    plan = TrainingConfig.model_validate({"lr_schedule": cycles, "warm_up_steps": 10})
    rates = [plan.learning_rate(step) for step in (0, 50, 100, 125, 150)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 0.05, 0.0])
    assert plan.steps == 150

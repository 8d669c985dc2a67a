"""Training recipes."""

import re
from pathlib import Path

import pytest

import stream.training
from stream.baselines.config import Baseline
from stream.errors import ConfigurationError
from stream.training.recipe import Recipe
from stream.training.sections import OptimiserConfig

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
    assert Path(recipe.output).name == path.stem == recipe.ner.name


def test_config_recipe_of_the_documentation_loads(tmp_path):
    """The short recipe for a set of one's own is whole."""
    (block,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "recipe.toml"
    path.write_text(block, encoding="utf-8")
    recipe = Recipe.load(path)
    assert recipe.phrases == recipe.ner.default_labels
    assert (GUIDE.parents[1] / recipe.initial / "config.json").is_file()


def test_config_adapters_are_put_on_a_large_checkpoint_that_stays_small():
    """The recipe for 8 billion parameters has 16-bit weights, keeps no activations, averages nothing."""
    recipe = Recipe.load(BUNDLED.with_name("lora-8b.toml"))
    assert recipe.lora is not None
    assert recipe.optimiser.weights == "bfloat16"
    assert recipe.optimiser.checkpointing
    assert not recipe.optimiser.average
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


def test_config_learning_rate_falls_in_cycles():
    """The rate warms up, falls to 0 over each cycle, and is 0 after the last."""
    cycles = [{"steps": 100, "learning_rate": 0.2}, {"steps": 50, "learning_rate": 0.1}]
    plan = OptimiserConfig.model_validate({"cycles": cycles, "warm_up_steps": 10})
    rates = [plan.learning_rate(step) for step in (0, 50, 100, 125, 150)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 0.05, 0.0])
    assert plan.steps == 150

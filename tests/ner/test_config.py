"""What travels with a checkpoint."""

import pytest
from pydantic import ValidationError

from stream.errors import CheckpointError
from stream.ner.config import LabelConfig, NerConfig, TemplateConfig, WindowConfig
from tests.tiny_model import tiny_ner_config


def test_config_phrase_resolves_aliases_without_case():
    """A label is found by phrase or alias in any case; an unknown one stands for itself."""
    config = tiny_ner_config()
    assert [config.phrase(name) for name in ("PER", "per", "Person", "Gene")] == [
        "person",
        "person",
        "person",
        "Gene",
    ]


def test_config_phrase_beats_another_labels_alias():
    """Where one label's alias is another's phrase, the phrase is meant."""
    labels = {"group": LabelConfig(), "organization": LabelConfig(aliases=("group",))}
    config = NerConfig(name="x", version="0", labels=labels, default_labels=("group",))
    assert config.phrase("Group") == "group"


def test_config_template_hash_follows_the_template():
    """Checkpoints with one template share its hash; another template has another."""
    config = tiny_ner_config()
    assert config.template_hash == tiny_ner_config(name="other").template_hash
    other = NerConfig(**(config.model_dump() | {"template": TemplateConfig(count="\n<num>")}))
    assert other.template_hash != config.template_hash
    assert len(config.template_hash) == 16


def test_config_refuses_windows_that_hardly_advance():
    """An overlap of more than half a window is refused."""
    with pytest.raises(ValidationError, match="at most half"):
        WindowConfig(tokens=10, overlap=6)


def test_config_load_names_what_is_malformed(tmp_path):
    """A malformed file is refused with its path and the field."""
    (tmp_path / "ner_config.json").write_text(
        '{"name": "x", "version": "0", "labels": {}, "default_labels": []}'
    )
    with pytest.raises(CheckpointError, match=r"(?s)ner_config\.json.*default_labels"):
        NerConfig.load(tmp_path)


@pytest.mark.parametrize("piece", [{"mention": "<mention {n}>"}, {"definition": "{}"}, {"count_answer": "{"}])
def test_config_refuses_unknown_placeholders(piece):
    """A template piece with a placeholder that nothing fills is refused with the piece's name."""
    with pytest.raises(ValidationError, match=next(iter(piece))):
        TemplateConfig(**piece)

"""Scores and the plain decoding behind them."""

import pytest

from tests.training.synthetic import sentence, template

pytestmark = pytest.mark.train


def test_greedy_score_counts_sets_of_label_and_text():
    """Doubles count once, a right text under a wrong label is wrong, and counts are judged apart."""
    from stream.training.scoring import Predicted, Reading, score

    gold = sentence("Ada and Ada in Oslo", ("Ada", "person"), ("Ada", "person"), ("Oslo", "location"))
    said = (
        Predicted("person", "Ada", 0.9),
        Predicted("person", "Ada", 0.8),
        Predicted("person", "Oslo", 0.3),
    )
    scores = score([gold], [Reading({"person": 3, "location": 0}, said)], ["person", "location"])
    assert (scores.precision, scores.recall, scores.f1) == (50.0, 50.0, 50.0)
    assert (scores.count_accuracy, scores.count_accuracy_present) == (0.0, 0.0)
    assert scores.f1_by_label["location"] == 0.0


def test_greedy_keep_likeliest_settles_one_text_under_several_labels():
    """Of one text under several labels the likeliest stays; other texts are not touched."""
    from stream.training.scoring import Predicted, keep_likeliest

    person, place, other = (
        Predicted("person", "Jordan", 0.4),
        Predicted("location", "Jordan", 0.6),
        Predicted("person", "Ada", 0.1),
    )
    assert keep_likeliest([person, place, other]) == [place, other]


def test_greedy_continuations_equal_those_of_transformers():
    """Batched continuation without a cache writes what ``generate`` writes for each prompt alone."""
    import torch

    from stream.training.causal import build_model
    from stream.training.scoring import continue_greedily
    from stream.training.sections import ModelConfig

    torch.manual_seed(0)
    prompt_template = template()
    shape = ModelConfig(hidden=32, layers=2, heads=2, feed_forward=64, max_positions=128)
    model = build_model(shape, prompt_template._tokenizer.get_vocab_size(), prompt_template.end_id, 0).eval()
    prompts = [
        prompt_template.encode_text(text).ids for text in ("Ada met Alan in Oslo .", "Paris", "Ada won ,")
    ]
    written = continue_greedily(model, prompts, 6, prompt_template.end_id)
    for prompt, (ids, _) in zip(prompts, written, strict=True):
        alone = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=prompt_template.end_id,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert ids == alone[: len(ids)]
        assert len(ids) == 6 or alone[len(ids)] == prompt_template.end_id

"""Trees packed into rows."""

import numpy as np
import pytest

from stream.baselines.config import Baseline
from stream.training.packing import IGNORED, pack
from stream.training.reformulation import separate_examples
from tests.training.synthetic import reformulator, sentence, template

FORMATS = [None, *Baseline]
ARCHITECTURES = ["mistral", "qwen2", "qwen3", "gemma3_text", "phi3"]
VOCABULARY = 420
SENTENCES = [
    sentence(
        "Ada met Grace Hopper in New York .",
        ("Ada", "person"),
        ("Grace Hopper", "person"),
        ("New York", "location"),
    ),
    sentence("Nobody was there ."),
    sentence("Oslo is large .", ("Oslo", "location")),
]
PHRASES = ("location", "person")
TREES_OF = {each: [reformulator(each).tree(s, PHRASES) for s in SENTENCES] for each in FORMATS}
TREES = TREES_OF[None]


@pytest.mark.parametrize("trees", TREES_OF.values(), ids=map(str, FORMATS))
def test_packing_every_token_sees_its_separate_sequence(trees):
    """What a token may attend to, in order of position, is exactly its prompt in the separate sequences."""
    batch = pack(trees, 64)
    seen = []
    for row, column in np.argwhere(batch.answers != IGNORED):
        visible = np.flatnonzero(batch.mask[row, column])
        assert list(batch.positions[row, visible]) == list(range(len(visible)))
        seen.append((tuple(batch.ids[row, visible]), int(batch.answers[row, column])))
    wanted = [
        (example.prompt + example.answer[:n], answer)
        for tree in trees
        for example in separate_examples(tree)
        for n, answer in enumerate(example.answer)
    ]
    assert sorted(seen) == sorted(wanted)


def test_packing_language_model_targets_are_the_texts_own_next_tokens():
    """Each text token but the last predicts the one after it, and nothing else does."""
    batch = pack(TREES[:1], 8)
    root = TREES[0].root
    assert list(batch.next_tokens[0, : len(root) - 1]) == list(root[1:])
    assert set(batch.next_tokens[0, len(root) - 1 :]) == {IGNORED}


def test_packing_padding_attends_to_itself_and_predicts_nothing():
    """A row's unused end has no targets, and no softmax over nothing."""
    batch = pack(TREES, 8)
    assert batch.mask.any(-1).all()
    padding = batch.mask.sum(-1) == 1
    padding[:, 0] = False  # the first token of a row sees only itself too
    assert set(batch.answers[padding]) <= {IGNORED}


def test_packing_places_every_tree():
    """All trees are placed, and rows are not wider than asked for unless one tree is."""
    longest = max(map(len, TREES))
    batch = pack(TREES * 4, 64)
    assert batch.documents == 12
    assert batch.ids.shape[1] <= max(64, longest)
    assert (batch.answers != IGNORED).sum() == 4 * sum(
        len(e.answer) for t in TREES for e in separate_examples(t)
    )


@pytest.mark.train
@pytest.mark.parametrize(
    ("trees", "architecture"),
    [*((trees, "llama") for trees in TREES_OF.values()), *((TREES, each) for each in ARCHITECTURES)],
    ids=[*map(str, FORMATS), *ARCHITECTURES],
)
def test_packing_loss_and_gradients_equal_separate_sequences(trees, architecture):
    """In float64 the packed loss and every gradient are those of the paper's separate sequences."""
    import torch
    from torch.nn.functional import cross_entropy

    from stream.training.causal import build_model
    from stream.training.model import TrainingModel
    from stream.training.sections import LossConfig, ModelConfig

    torch.manual_seed(0)
    shape = ModelConfig(
        architecture=architecture, hidden=32, layers=3, heads=2, feed_forward=64, max_positions=256
    )
    causal = in_float64(build_model(shape, VOCABULARY, 1, 0))
    model = TrainingModel(causal, phrases=2, max_count=12, none_id=3, weights=LossConfig(), dropout=0.0)
    packed = model.answer_loss(pack(trees, 64))
    packed.backward()
    gradients = {name: p.grad.clone() for name, p in causal.named_parameters()}
    causal.zero_grad()
    separate = torch.zeros((), dtype=torch.float64)
    for tree in trees:
        for example in separate_examples(tree):
            logits = causal(input_ids=torch.tensor([example.prompt + example.answer])).logits[0]
            guesses = logits[len(example.prompt) - 1 : -1]
            separate = separate + cross_entropy(guesses, torch.tensor(example.answer), reduction="sum")
    separate.backward()
    assert abs(packed.item() - separate.item()) < 1e-10
    for name, parameter in causal.named_parameters():
        assert (gradients[name] - parameter.grad).abs().max() < 1e-10, name


@pytest.mark.train
def test_packing_bias_on_none_is_in_the_loss_alone():
    """The loss is that of logits with the bias on a count of none; the model's own logits stay."""
    import torch
    from torch.nn.functional import cross_entropy

    from stream.training.causal import build_model
    from stream.training.model import TrainingModel
    from stream.training.sections import LossConfig, ModelConfig

    torch.manual_seed(0)
    shape = ModelConfig(hidden=32, layers=3, heads=2, feed_forward=64, max_positions=256)
    causal = in_float64(build_model(shape, VOCABULARY, 1, 0))
    (none,) = template().count_answer_ids(0)
    batch = pack(TREES, 64)
    assert (batch.answers == none).any()
    losses, logits = [], []
    for bias in (0.0, 1.5):
        weights = LossConfig(language_model=0, tagging=0, mention_index=0, none_bias=bias)
        model = TrainingModel(causal, phrases=2, max_count=12, none_id=none, weights=weights, dropout=0.0)
        losses.append(model(batch).parts["answers"].item())
        logits.append(causal(torch.tensor([TREES[0].root])).logits)
    assert torch.equal(*logits)
    targets = [e.answer for t in TREES for e in separate_examples(t)]
    prompts = [e.prompt for t in TREES for e in separate_examples(t)]
    wanted, every = torch.zeros((), dtype=torch.float64), sum(map(len, targets))
    for prompt, answer in zip(prompts, targets, strict=True):
        guesses = causal(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].clone()
        guesses[:, none] += 1.5
        wanted = wanted + cross_entropy(guesses, torch.tensor(answer), reduction="sum")
    assert losses[1] == pytest.approx(wanted.item() / every, abs=1e-9)
    assert losses[1] != losses[0]


def in_float64(causal):
    """The model with every step in float64; the norms of transformers are float32 inside."""
    from torch.nn.functional import rms_norm

    causal = causal.double()
    causal.set_attn_implementation("sdpa")
    for module in causal.modules():
        if type(module).__name__ == "Gemma3RMSNorm":
            module.forward = lambda x, m=module: rms_norm(x, x.shape[-1:], 1 + m.weight, m.eps)
        elif type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, m=module: rms_norm(x, x.shape[-1:], m.weight, m.variance_epsilon)
    return causal

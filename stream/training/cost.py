"""What a document costs in training: as one packed tree, and as the separate sequences of the paper."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch

from stream.training.packing import IGNORED, Batch, pack
from stream.training.recipe import Recipe
from stream.training.reformulation import LabelBranch, Tree
from stream.training.trainer import Trainer

_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one way to lay documents out.

    Attributes:
        tokens: Of a document, mean.
        padded_tokens: The same with what fills rows up.
        seconds: For 1,000 documents: forward, backward and the optimiser's step.
    """

    tokens: float
    padded_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Of both ways, on the same documents in the same steps.

    Attributes:
        documents: Measured.
        epoch: Documents of the main corpus.
    """

    trees: Cost
    separate: Cost
    documents: int
    epoch: int


def measure_costs(recipe: Recipe, documents: int) -> Costs:
    """Train on documents of the main corpus, each asked for all its labels, and take the time.

    Both ways take turns, batch by batch, so that whatever else the machine does slows both down. Nothing is
    written to the recipe's output folder.

    Args:
        recipe: Its model, batch size, device and threads are used; language modelling beforehand is left out.
        documents: How many to measure, drawn by the recipe's seed; all where there are fewer.
    """
    with TemporaryDirectory() as folder:
        if (recipe.output / "tokenizer.json").exists():
            shutil.copy(recipe.output / "tokenizer.json", folder)
        trainer = Trainer(recipe.model_copy(update={"output": Path(folder), "pretraining": None}))
        drawn, epoch = _draw(trainer, documents)
        width = recipe.optimiser.row_tokens
        batches = [(pack(trees, width), pack_apart(trees, width)) for trees in drawn]
        for together, apart in batches[:_WARM_UP]:
            trainer.train_step(together)
            trainer.train_step(apart)
        times = [(_seconds(trainer, together), _seconds(trainer, apart)) for together, apart in batches]
    count = sum(map(len, drawn))
    lengths = (
        sum(len(tree) for trees in drawn for tree in trees),
        sum(len(each) for trees in drawn for tree in trees for each in separate_trees(tree)),
    )
    trees, separate = (
        Cost(
            tokens=lengths[way] / count,
            padded_tokens=sum(pair[way].ids.size for pair in batches) / count,
            seconds=1000 * sum(pair[way] for pair in times) / count,
        )
        for way in (0, 1)
    )
    return Costs(trees, separate, count, epoch)


def separate_trees(tree: Tree) -> list[Tree]:
    """The paper's separate sequences, each as a tree without anything shared.

    What the text itself teaches (tags, ordinals) is known of the first alone, so that it is taught once.
    """
    branches = []
    for branch in tree.branches:
        branches.append(LabelBranch(branch.prompt, branch.count, (), 0))
        for mention in branch.mentions:
            marker, answer = mention[: branch.markers], mention[branch.markers :]
            prompt = branch.prompt + branch.count + marker
            branches.append(LabelBranch(prompt, (*answer, tree.end_id), (), 0))
    return [
        Tree(tree.root, (branch,), tree.end_id, tree.tags, tree.ordinals, () if number else tree.inventory)
        for number, branch in enumerate(branches)
    ]


def pack_apart(trees: Sequence[Tree], width: int) -> Batch:
    """The separate sequences of trees in rows: the same losses as ``pack`` of the trees, with more tokens."""
    sequences = [separate_trees(tree) for tree in trees]
    batch = pack([each for parts in sequences for each in parts], width)
    first = np.array([number == 0 for parts in sequences for number in range(len(parts))])
    batch.next_tokens[~first[batch.inventories]] = IGNORED
    return batch


def _draw(trainer: Trainer, documents: int) -> tuple[list[list[Tree]], int]:
    """Documents in batches of the recipe's size, and how many the main corpus has."""
    sentences = list(trainer.sampler.main.sentences)
    Random(trainer.recipe.seed).shuffle(sentences)  # noqa: S311 - reproducible
    batches: list[list[Tree]] = [[]]
    for sentence in sentences[:documents]:
        if sum(map(len, batches[-1])) >= trainer.recipe.optimiser.batch_tokens:
            batches.append([])
        batches[-1].append(trainer.sampler.reformulator.tree(sentence, sentence.inventory))
    return batches, len(sentences)


def _seconds(trainer: Trainer, batch: Batch) -> float:
    device = trainer.processes.device
    began = time.perf_counter()
    trainer.train_step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began

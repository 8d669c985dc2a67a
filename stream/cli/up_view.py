"""The output of ``padellm up``: progress on stderr, results on stdout."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from stream.cli.highlight import document_line, printable
from stream.kafka.records import OutgoingRecord
from stream.kafka.round_trip import DocumentOutcome, Summary
from stream.local.plan import Plan
from stream.local.supervisor import ServiceState, StateChange

_NAME = "padellm"
_NEXT = (
    ("up", "the same stack, running until Ctrl-C"),
    ('extract "..."', "the entities of a text"),
    ("--help", "all commands"),
)


class StackView:
    """Shows the life of a stack. Inside this context manager a line at the bottom names what is awaited.

    Args:
        as_json: Print results as JSON Lines instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = Status("", console=self._err)
        self._waiting: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def fetched(self, done: int, of: int) -> None:
        """Show how many of Kafka's jars are fetched."""
        self._waiting["kafka"] = f"fetching Kafka, {done} of {of} files"
        self._show_waiting()

    def changed(self, change: StateChange) -> None:
        """Show a service's new state."""
        name = change.service.name
        self._waiting.pop(name, None)
        if change.state is ServiceState.READY:
            self._err.print(f"[green]✓[/] {name} ready after {change.seconds:.1f} s")
        elif change.state is ServiceState.DIED:
            self._err.print(f"[red]✗[/] {name} died (status {change.exit_status}), starting it again")
        elif change.state is not ServiceState.STOPPED:
            self._waiting[name] = f"{name} {change.state}"
        self._show_waiting()

    def ready(self, plan: Plan, *, serving: bool) -> None:
        """Show addresses and, if the stack keeps running, the next commands."""
        for note in plan.notes:
            self._err.print(f"[yellow]![/] {note}")
        if not serving:
            self._waiting["documents"] = "streaming documents"
            self._show_waiting()
            return
        if self._as_json:
            self._print_json(plan.addresses())
        table = Table.grid(padding=(0, 2))
        for name, value in plan.addresses().items():
            table.add_row(f"  {name}", Text(value, style="bold"))
        self._err.print()
        self._err.print(table)
        self._err.print(f"\nIn another terminal:\n{_next_commands(plan)}\n\nCtrl-C stops all of it.")

    def outcome(self, record: OutgoingRecord, outcome: DocumentOutcome) -> None:
        """Show one document's event or dead letter."""
        name = printable((record.key or b"").decode())
        event = outcome.event
        if self._as_json and event is not None:
            print(event.model_dump_json())  # noqa: T201 - the result; rich would colour it
        elif self._as_json:
            self._print_json({"document_id": name, "dead_letter": outcome.reason})
        elif event is not None:
            self._out.print(Text.assemble((f"{name}  ", "dim"), document_line(record.text, event.entities)))
        else:
            self._out.print(Text(f"{name}  dead letter: {outcome.reason}", style="red"))

    def summary(self, summary: Summary) -> None:
        """Show the figures of a finished run."""
        if self._as_json:
            self._print_json(summary.as_dict())
            return
        repeats = f", [bold]{summary.repeats}[/] repeats" if summary.repeats else ""
        self._out.print(
            f"\n[bold]{summary.documents}[/] documents in {summary.seconds:.1f} s "
            f"({summary.documents_per_second:.0f} a second): [bold]{summary.events}[/] events with "
            f"[bold]{summary.entities}[/] entities, [bold]{summary.dead_letters}[/] dead letters{repeats}. "
            f"Half of them took under {summary.p50_ms:.0f} ms, 99 in 100 under {summary.p99_ms:.0f} ms.\n"
        )
        program = _program()
        self._out.print("Next:")
        for arguments, meaning in _NEXT:
            self._out.print(f"  {program} {arguments:<14}  {meaning}", markup=False)

    def _show_waiting(self) -> None:
        self._status.update(", ".join(self._waiting.values()) or "serving")

    def _print_json(self, value: object) -> None:
        print(json.dumps(value), flush=True)  # noqa: T201 - the result; rich would colour it


def _next_commands(plan: Plan) -> str:
    """Commands that reach this stack; they name its broker unless it is the default one."""
    broker = (
        ""
        if plan.settings.broker == type(plan.settings).model_fields["broker"].default
        else f"BROKER={plan.settings.broker} "
    )
    program = _program()
    return (
        f"  {broker}{program} consume --follow\n"
        f'  echo "Angela Merkel visited Paris." | {broker}{program} produce -'
    )


def _program() -> str:
    """The command for this program: its name if the shell finds it, else its path."""
    called = Path(sys.argv[0])
    if called.name != _NAME or shutil.which(_NAME):
        return _NAME
    return os.path.relpath(called)

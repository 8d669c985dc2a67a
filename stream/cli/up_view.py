"""What ``padellm up`` shows: progress on stderr; results on stdout."""

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
from stream.kafka.round_trip import Outcome, Summary
from stream.local.plan import Plan
from stream.local.supervisor import Change, State

_NAME = "padellm"
_NEXT = (
    ("up", "the same stack, to stay; it says what to type then"),
    ('extract "..."', "the entities of a text of yours"),
    ("--help", "everything else"),
)


class View:
    """Shows a stack's life. A context manager: inside it a line at the bottom says what is being waited for.

    Args:
        as_json: Results as JSON Lines instead of text.
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
        """Kafka's jars as they come."""
        self._waiting["kafka"] = f"fetching Kafka, {done} of {of} files"
        self._show_waiting()

    def changed(self, change: Change) -> None:
        """A part's new state."""
        name = change.part.name
        self._waiting.pop(name, None)
        if change.state is State.READY:
            self._err.print(f"[green]✓[/] {name} ready after {change.seconds:.1f} s")
        elif change.state is State.DIED:
            self._err.print(f"[red]✗[/] {name} died (status {change.exit_status}), starting it again")
        elif change.state is not State.STOPPED:
            self._waiting[name] = f"{name} {change.state}"
        self._show_waiting()

    def ready(self, plan: Plan, *, serving: bool) -> None:
        """Where things are and, where the stack stays, what to type next."""
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
        self._err.print(f"\nIn another terminal:\n{_next_commands(plan)}\n\nCtrl-C ends all of it.")

    def outcome(self, record: OutgoingRecord, outcome: Outcome) -> None:
        """What became of one document."""
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
        """The figures of a run with its end."""
        if self._as_json:
            self._print_json(summary.as_dict())
            return
        self._out.print(
            f"\n[bold]{summary.documents}[/] documents in {summary.seconds:.1f} s "
            f"({summary.documents_per_second:.0f} a second): [bold]{summary.events}[/] events with "
            f"[bold]{summary.entities}[/] entities, [bold]{summary.dead_letters}[/] dead letters. "
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
    """Commands that reach this stack; they name its broker where that is not the usual one."""
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
    """What to type for this program: its name where the shell finds it, or else its path."""
    called = Path(sys.argv[0])
    if called.name != _NAME or shutil.which(_NAME):
        return _NAME
    return os.path.relpath(called)

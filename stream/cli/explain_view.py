"""A decode told pass by pass, on a terminal."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stream.cli.render import printable
from stream.evaluation.explanation import Answering, Candidate, Fixing, Step

_CANDIDATES_SHOWN = 6


def show_steps(console: Console, steps: Sequence[Step]) -> None:
    """Print what every pass read, drafted, accepted and rejected."""
    for step in steps:
        console.print(_headline(step))
        for position, text in step.read:
            console.print(Text.assemble((f"  read at {position:<5}", "dim"), printable(text)))
        for answering in step.answering:
            console.print(_answer(answering))
            for candidate in answering.candidates[:_CANDIDATES_SHOWN]:
                console.print(_candidate(candidate))
            if (more := len(answering.candidates) - _CANDIDATES_SHOWN) > 0:
                console.print(Text(f"      and {more} more drafts, rejected", style="dim"))
        console.print()
    console.print(totals_line(steps), style="bold", highlight=False)


def show_fixings(console: Console, fixings: Sequence[Fixing]) -> None:
    """Print for every answer which tokens were known from which pass on: a line a pass, a column a token."""
    for fixing in fixings:
        console.print(Text.assemble(("Known from pass", "bold"), "  ", (printable(fixing.question), "cyan")))
        tokens = list(map(printable, fixing.tokens))
        for number in range(1, max(fixing.passes) + 1):
            shown = (
                token if at == number else " " * cell_len(token)
                for token, at in zip(tokens, fixing.passes, strict=True)
            )
            console.print(Text.assemble((f"  {number:>3}  ", "dim"), ("".join(shown).rstrip(), "bold")))
        console.print()


def totals_line(steps: Sequence[Step]) -> str:
    """All passes in one line."""
    tokens, drafted = sum(step.tokens for step in steps), sum(step.drafted for step in steps)
    accepted = sum(step.accepted for step in steps)
    milliseconds = sum(sum(step.milliseconds.values()) for step in steps)
    return (
        f"{len(steps)} forward passes over {tokens} tokens, {drafted} of them drafted and {accepted} "
        f"accepted, in {milliseconds:.1f} ms"
    )


def headline(step: Step) -> str:
    """A pass in one line, without its number."""
    parts = ", ".join(f"{part} {spent:.2f}" for part, spent in step.milliseconds.items())
    drafts = f", {step.drafted} of them drafted, {step.accepted} accepted" if step.drafted else ""
    return f"{step.tokens} tokens behind {step.past} cached{drafts}; ms: {parts}"


def _headline(step: Step) -> Text:
    return Text.assemble((f"Pass {step.number}", "bold"), f"  {headline(step)}")


def _answer(answering: Answering) -> Text:
    line = Text.assemble("  ", (printable(answering.question), "cyan"), "  ")
    line.append(printable(answering.earlier), style="dim")
    line.append(printable(answering.chosen), style="bold")
    return line.append(" ■" if answering.finished else " …", style="dim")


def _candidate(candidate: Candidate) -> Text:
    line = Text.assemble((f"      {candidate.source:<8}", "dim"))
    if candidate.accepted:
        line.append(f"✓{printable(candidate.accepted)} ", style="green")
    if candidate.rejected:
        line.append(f"✗{printable(candidate.rejected)}", style="red")
    return line

"""A decode pass by pass: on the terminal, and as one self-contained HTML page."""

from collections.abc import Sequence
from html import escape
from itertools import accumulate

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stream.bench.fixings import Fixing
from stream.cli.highlight import printable
from stream.ner.extractor import Extraction
from stream.passes import Answering, Candidate, Step

_CANDIDATES_SHOWN = 6


def show_steps(console: Console, steps: Sequence[Step]) -> None:
    """Print the tokens that every pass prefilled, drafted, accepted and rejected."""
    for step in steps:
        console.print(_headline(step))
        for position, text in step.prefilled:
            console.print(Text.assemble((f"  prefilled at {position:<5}", "dim"), printable(text)))
        for answering in step.answering:
            console.print(_answer(answering))
            for candidate in answering.candidates[:_CANDIDATES_SHOWN]:
                console.print(_candidate(candidate))
            if (more := len(answering.candidates) - _CANDIDATES_SHOWN) > 0:
                console.print(Text(f"      and {more} more drafts, rejected", style="dim"))
        console.print()
    console.print(totals_line(steps), style="bold", highlight=False)


def show_fixings(console: Console, fixings: Sequence[Fixing]) -> None:
    """Print the fixing pass of every token of every answer: one line per pass, one column per token."""
    for fixing in fixings:
        console.print(Text.assemble(("Fixed in pass", "bold"), "  ", (printable(fixing.question), "cyan")))
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
    return f"{step.tokens} tokens after {step.past} cached{drafts}; ms: {parts}"


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


_LEFT, _TOP, _ROW, _CELL, _PADDING = 70, 34, 30, 8, 12


def as_svg(fixing: Fixing) -> str:
    """Draw an answer; the line goes down at a token that depended on one before it."""
    tokens = [printable(token) for token in fixing.tokens]
    widths = [_CELL * max(1, cell_len(token)) + _PADDING for token in tokens]
    *lefts, end = accumulate(widths, initial=_LEFT)
    middles = [
        (left + width / 2, _middle(number))
        for left, width, number in zip(lefts, widths, fixing.passes, strict=True)
    ]
    boxes = (
        f'<rect x="{x - width / 2 + 2:g}" y="{y - 11:g}" width="{width - 4}" height="22" rx="4"/>'
        f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle" xml:space="preserve">{escape(token)}</text>'
        for (x, y), width, token in zip(middles, widths, tokens, strict=True)
    )
    rows = range(1, max(fixing.passes) + 1)
    passes = (
        f'<text class="axis" x="{_LEFT - 10}" y="{_middle(row) + 4:g}" text-anchor="end">pass {row}</text>'
        for row in rows
    )
    question = escape(printable(fixing.question))
    return (
        f'<svg role="img" font-family="ui-monospace,monospace" font-size="13" '
        f'viewBox="0 0 {end + 10} {_TOP + len(rows) * _ROW}" width="{end + 10}"><title>{question}</title>'
        f'<text x="0" y="18" font-weight="bold">{question}</text>{"".join(passes)}'
        f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in middles)}"/>{"".join(boxes)}</svg>'
    )


def _middle(row: int) -> float:
    """Vertical middle of a pass's row."""
    return _TOP + (row - 0.5) * _ROW


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1d2433; background: #fff }
section { border: 1px solid #d5dae3; border-radius: 8px; margin: 1rem 0; padding: .6rem 1rem }
h2 { font-size: 1rem; margin: 0 0 .4rem } h2 small { font-weight: normal; color: #5b6577 }
code { font: 13px/1.7 ui-monospace, monospace; white-space: pre-wrap }
.prefilled { background: #eef1f6; border-radius: 4px; padding: 1px 5px }
.at, .source { color: #5b6577; display: inline-block; min-width: 5.5rem; font-size: 13px }
.question { color: #0b63a5 } .earlier { color: #5b6577 } .chosen { font-weight: 700 }
.accepted { background: #c9efd0; color: #11512a } .rejected { background: #fbe0e0; color: #8a1f1f;
  text-decoration: line-through }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; margin: .3rem 0 .6rem }
ul { list-style: none; margin: .2rem 0; padding-left: 1.2rem } mark { border-radius: 4px; padding: 1px 4px }
mark small { color: #5b6577 }
svg { max-width: 100% } svg text { fill: #1d2433 } svg .axis { fill: #5b6577 } svg rect { fill: #c9efd0 }
svg polyline { stroke: #9aa3b2; fill: none }
@media (prefers-color-scheme: dark) {
  body { background: #14171d; color: #dfe4ee } section { border-color: #333a47 }
  .prefilled { background: #232833 }
  .question { color: #6fb9ef } .accepted { background: #1d4a2b; color: #c9efd0 }
  .rejected { background: #552424; color: #fbe0e0 } mark { background: #4a4318; color: #f4ecc4 }
  svg text { fill: #dfe4ee } svg rect { fill: #1d4a2b } }
"""
_COLOURS = {"schedule": "#8d7fd1", "feed": "#e0a33a", "run": "#3a86c8", "accept": "#4cae6c"}


def as_page(text: str, extraction: Extraction, steps: Sequence[Step], fixed: Sequence[Fixing] = ()) -> str:
    """The whole page.

    Args:
        text: The document's.
        extraction: Its entities.
        steps: Its passes.
        fixed: The fixing passes of its answers.
    """
    longest = max((sum(step.milliseconds.values()) for step in steps), default=1.0)
    legend = " ".join(f'<span style="color:{colour}">■ {part}</span>' for part, colour in _COLOURS.items())
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>A decode, pass by pass</title><style>{_STYLE}</style></head><body>",
            f"<h1>A decode, pass by pass</h1><p>{_marked(text, extraction)}</p>",
            f"<p>{escape(totals_line(steps))}. {legend}</p>",
            *(_section(step, longest) for step in steps),
            "<h1>Fixing pass of each token</h1>" if fixed else "",
            *(f"<section>{as_svg(fixing)}</section>" for fixing in fixed),
            "</body></html>\n",
        )
    )


def _marked(text: str, extraction: Extraction) -> str:
    pieces, at = [], 0
    for entity in sorted(extraction.entities, key=lambda entity: (entity.start, -entity.end)):
        if entity.start < at:  # inside or across the previous one
            continue
        pieces.append(escape(text[at : entity.start]))
        pieces.append(f"<mark>{escape(entity.text)} <small>{escape(entity.label)}</small></mark>")
        at = entity.end
    return "".join((*pieces, escape(text[at:])))


def _section(step: Step, longest: float) -> str:
    bars = "".join(
        f'<div title="{part} {spent:.2f} ms" '
        f'style="width:{100 * spent / longest:.2f}%;background:{_COLOURS.get(part, "#888")}"></div>'
        for part, spent in step.milliseconds.items()
    )
    prefilled = "".join(
        f'<div><span class="at">at {position}</span><code class="prefilled">{escape(text)}</code></div>'
        for position, text in step.prefilled
    )
    answers = "".join(map(_answer_html, step.answering))
    return (
        f"<section><h2>Pass {step.number} <small>{escape(headline(step))}</small></h2>"
        f'<div class="bar">{bars}</div>{prefilled}{answers}</section>'
    )


def _answer_html(answering: Answering) -> str:
    candidates = "".join(map(_candidate_html, answering.candidates))
    return (
        f'<div><code><span class="question">{escape(answering.question)}</span>  '
        f'<span class="earlier">{escape(answering.earlier)}</span>'
        f'<span class="chosen">{escape(answering.chosen.rstrip())}</span>'
        f"{' ■' if answering.finished else ' …'}</code>{f'<ul>{candidates}</ul>' if candidates else ''}</div>"
    )


def _candidate_html(candidate: Candidate) -> str:
    return (
        f'<li><span class="source">{escape(candidate.source)}</span><code>'
        f'<span class="accepted">{escape(candidate.accepted)}</span>'
        f'<span class="rejected">{escape(candidate.rejected)}</span></code></li>'
    )

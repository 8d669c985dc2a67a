# ruff: noqa: INP001 - a script beside the pages it draws for
"""Draws what `make run` printed, lines from its beginning, middle and end, as the README's picture.

TTY_INTERACTIVE=0 FORCE_COLOR=1 make run 2>&1 | .venv/bin/python docs/terminal_svg.py > docs/make-run.svg
"""

import io
import sys

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

FIRST, MIDDLE, LAST = 3, 9, 8
COLUMNS = 118
# Rich's picture fetches a font from a web site; the reader's own monospaced font will do.
PICTURE = CONSOLE_SVG_FORMAT.split("@font-face", maxsplit=1)[0] + CONSOLE_SVG_FORMAT[
    CONSOLE_SVG_FORMAT.index(".{unique_id}-matrix") :
].replace("Fira Code", "monospace")


def main() -> None:
    """Read the output on stdin, write the picture on stdout."""
    lines = sys.stdin.read().rstrip().splitlines()
    middle = len(lines) // 2
    shown = [*lines[:FIRST], "...", *lines[middle : middle + MIDDLE], "...", *lines[-LAST:]]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make run", style="bold"))
    for line in shown:
        console.print(Text.from_ansi(line))
    sys.stdout.write(console.export_svg(title="make run", code_format=PICTURE, theme=DIMMED_MONOKAI))


if __name__ == "__main__":
    main()

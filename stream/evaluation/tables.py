"""Tables of figures on a terminal, in one style."""

from rich.table import Table


def figure_table(first: str, *others: str) -> Table:
    """A table without lines: the first column holds names, the others figures.

    Args:
        first: Head of the first column.
        others: Heads of the others.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right")
    return table

"""Tables, as text and as Markdown."""

import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows under a title, with what must be known to read them."""

    title: str
    columns: Sequence[str]
    note: str
    rows: list[Sequence[str]] = field(default_factory=list)

    def text(self) -> str:
        """The table for a terminal."""
        lines = [list(self.columns), *map(list, self.rows)]
        widths = [max(_width(line[i]) for line in lines) for i in range(len(self.columns))]
        shown = [
            "  ".join(_padded(cell, width, left=i == 0) for i, (cell, width) in enumerate(cells))
            for cells in (list(zip(line, widths, strict=True)) for line in lines)
        ]
        rule = "-" * max(map(len, shown))
        return "\n".join([self.title, rule, shown[0], rule, *shown[1:], rule, self.note, ""])

    def markdown(self) -> str:
        """The table for a README."""
        head = f"| {' | '.join(self.columns)} |"
        rule = f"| --- |{' ---: |' * (len(self.columns) - 1)}"
        rows = [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", head, rule, *rows, "", self.note, ""])


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and between which quarters of the values lie."""
    if len(values) < 3:
        return f"{statistics.median(values):,.{digits}f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


def _padded(cell: str, width: int, *, left: bool) -> str:
    padding = " " * (width - _width(cell))
    return cell + padding if left else padding + cell

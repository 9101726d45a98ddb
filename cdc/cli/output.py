"""Tables on a terminal: plain text, columns as wide as what stands in them, Chinese counted as two."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip())


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)

"""What a table is, whatever file it came from: numbered rows of texts.

Rows are numbered as the spreadsheet program shows them, from 1. A cell is text, empty where there is nothing;
what looks like a formula or a command (`=cmd|…`) is text like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

TableKind = Literal["csv", "xlsx"]
MOST_COLUMNS = 256
"""Further columns are not read. A record has four texts at most."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row. A row that could not be read has a kind of problem and says what is wrong."""

    number: int
    cells: tuple[str, ...]
    kind: str = ""
    wrong: str = ""

    @property
    def blank(self) -> bool:
        return not self.wrong and not any(cell.strip() for cell in self.cells)

    def cell(self, index: int) -> str:
        """The text in a column, counted from 0; empty beyond the row's end."""
        return self.cells[index] if index < len(self.cells) else ""


class Table(Protocol):
    """An open table. notices: what was decided about the file, in words."""

    kind: TableKind
    sheets: tuple[str, ...]
    sheet: str
    notices: list[str]

    def rows(self) -> Iterator[SheetRow]:
        """Every row from the first, blank ones included.

        Raises: DataError when the rest cannot be read.
        """
        ...

    def find_unstored(self, places: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Which of these empty cells (row, column from 0) hold a formula whose result is not in the file."""
        ...


def letter_of(index: int) -> str:
    """The letters of a column, counted from 0: A, B, … Z, AA."""
    letters, rest = "", index + 1
    while rest:
        rest, digit = divmod(rest - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def tidy_cell(text: str) -> str:
    """A cell's text with one kind of line break."""
    return text.replace("\r\n", "\n").replace("\r", "\n")

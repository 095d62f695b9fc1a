"""Which column is what: the roles a column may have, and a proposal from the columns' names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medlora.dataset.shapes import place_name
from medlora.dataset.tables.sheet import SheetRow, letter_of
from medlora.errors import DataError

Role = Literal["question", "answer", "context", "system"]
ROLES: tuple[Role, ...] = ("question", "answer", "context", "system")
FIELDS: dict[Role, str] = {
    "question": "instruction", "answer": "response", "context": "input", "system": "system",
}  # fmt: skip
"""The field of the JSON record that a role is written to."""
# In the order of preference; the first that a column is called decides.
_CALLED: dict[Role, tuple[str, ...]] = {
    "system": ("system", "systemprompt"),
    "answer": (
        "answer", "response", "output", "completion", "reply", "assistant", "antwort", "reponse", "respuesta",
        "risposta", "chosen", "target",
    ),
    "question": (
        "question", "prompt", "instruction", "query", "user", "frage", "pregunta", "domanda", "message",
        "input",
    ),
    "context": ("input", "context", "background", "kontext", "contexte", "contexto"),
}  # fmt: skip
_HEADER_SEARCHED = 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its letter as the spreadsheet shows it, and what its header says."""

    index: int
    name: str

    @property
    def letter(self) -> str:
        return letter_of(self.index)

    @property
    def place(self) -> str:
        """How messages call it. A header that is no name may be a patient's words, and stays out."""
        said = place_name(self.name) if self.name else ""
        return f"column {self.letter}" + (f" ({said})" if said and not said.startswith("(") else "")


def find_header(rows: Sequence[SheetRow]) -> int:
    """The row with the columns' names: the first with two texts or more; 0 if there is none.

    Why not simply row 1: many sheets begin with a title or an empty row.
    """
    for row in rows[:_HEADER_SEARCHED]:
        if sum(bool(cell.strip()) for cell in row.cells) >= 2:
            return row.number
    return next((row.number for row in rows[:_HEADER_SEARCHED] if not row.blank), 0)


def read_columns(rows: Sequence[SheetRow], header_row: int) -> list[Column]:
    """The columns of a table: those the header names, and those that hold something."""
    width = max((_width(row) for row in rows if row.number >= header_row), default=0)
    header = next((row for row in rows if row.number == header_row), None)
    names = [" ".join(header.cell(index).split()) if header else "" for index in range(width)]
    filled = {
        index
        for row in rows
        if row.number > header_row
        for index, cell in enumerate(row.cells)
        if cell.strip()
    }
    return [Column(index, name) for index, name in enumerate(names) if name or index in filled]


def _width(row: SheetRow) -> int:
    return max((index + 1 for index, cell in enumerate(row.cells) if cell.strip()), default=0)


def propose_roles(columns: Sequence[Column]) -> dict[Role, int]:
    """The role of each column whose name says it; nothing is proposed twice."""
    taken: dict[Role, int] = {}
    for exact in (True, False):
        for role, called in _CALLED.items():
            free = [column for column in columns if column.index not in taken.values()]
            if role not in taken and (found := _first_called(free, called, exact=exact)) is not None:
                taken[role] = found
    return taken


def _first_called(columns: Sequence[Column], called: Sequence[str], *, exact: bool) -> int | None:
    for word in called:
        for column in columns:
            words = _words(column.name)
            if "".join(words) == word or (not exact and word in words):
                return column.index
    return None


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    return re.findall(r"[a-z]+", plain)


def choose_columns(columns: Sequence[Column], given: Mapping[str, str]) -> dict[Role, int]:
    """Roles with the columns that somebody named, by header or by letter.

    Raises: DataError.
    """
    chosen: dict[Role, int] = {}
    for name, wanted in given.items():
        role = next((role for role in ROLES if role == name.strip().lower()), None)
        if role is None:
            raise DataError(f"columns: there is no role {name!r} (there are: {', '.join(ROLES)})")
        chosen[role] = _find_column(columns, role, wanted)
    check_roles(chosen)
    return chosen


def _find_column(columns: Sequence[Column], role: Role, wanted: str) -> int:
    called = [c for c in columns if c.name.casefold() == " ".join(wanted.split()).casefold()]
    called = called or [c for c in columns if c.letter == wanted.strip().upper()]
    if len(called) == 1:
        return called[0].index
    known = ", ".join(c.place.removeprefix("column ") for c in columns) or "none"
    if called:
        letters = ", ".join(c.letter for c in called)
        raise DataError(f"columns: {role}: several columns are called {wanted!r}; give a letter ({letters})")
    raise DataError(f"columns: {role}: there is no column {wanted!r} (there are: {known})")


def check_roles(chosen: Mapping[Role, int]) -> None:
    """Raises: DataError when a column has two roles, or question or answer has none."""
    for role in ("question", "answer"):
        if role not in chosen:
            raise DataError(f"columns: {role}: no column has this role; choose one")
    if len(set(chosen.values())) < len(chosen):
        raise DataError("columns: a column has two roles; choose another for one of them")

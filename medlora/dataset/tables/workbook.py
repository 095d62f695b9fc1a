"""An Excel workbook (.xlsx), read row by row by openpyxl; formulas count as the results stored in the file.

Covered: workbooks with macros and files of other programs, refused by what they hold, not by their name;
archives that unpack to far more than they weigh; entities in the XML (defusedxml); row numbers that no
spreadsheet has; a false note of the sheet's size; cells merged over several rows, which count for each.
Not covered: what a cell looks like (a number is written in full, a date as 2026-01-31), pictures, comments.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any

from medlora.dataset.tables.sheet import MOST_COLUMNS, SheetRow, TableKind, tidy_cell
from medlora.errors import DataError

_LAST_ROW = 1_048_576
_MOST_MEMBERS = 4_096
_LARGEST_UNPACKED = 1 << 30
_LARGEST_STRINGS = 128 << 20
# Sheets shrink well, up to a hundredfold when they repeat themselves; a bomb shrinks a thousandfold.
_MOST_SHRUNK, _SMALL = 300, 32 << 20
_CHUNK = 1 << 20
_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\s[^>]*?ref=["']([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})["']""")
_MOST_MERGED = 100_000
_ERRORS = {"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"}
_BROKEN = (
    AttributeError, EOFError, KeyError, IndexError, NotImplementedError, OSError, OverflowError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Workbook:
    """One sheet of a workbook as a table."""

    kind: TableKind = "xlsx"

    def __init__(self, path: Path, file: IO[bytes], sheet: str | None = None) -> None:
        """The named sheet of the open file, else the first that is not hidden.

        Raises: DataError when it is no workbook, must not be opened, or has no such sheet.
        """
        self._path = path
        check_archive(path)
        self.notices: list[str] = []
        with _reading(path):
            self._book = _load(file, data_only=True)
            found = {item.title: item for item in self._book.worksheets}
        shown = [name for name, item in found.items() if item.sheet_state == "visible"]
        self.sheets = tuple(shown or found)
        if not self.sheets:
            raise DataError(f"{path.name}: the workbook has no sheet with cells")
        if sheet is not None and sheet not in found:
            known = ", ".join(repr(name) for name in self.sheets)
            raise DataError(f"{path.name}: there is no sheet {sheet!r} (there are: {known})")
        self.sheet = sheet or self.sheets[0]
        self._merged = self._find_merged(found[self.sheet])
        if self._merged:
            self.notices.append("Cells that are merged over several rows count for each of these rows.")

    def rows(self) -> Iterator[SheetRow]:
        """Every row.

        Raises: DataError when the sheet is broken.
        """
        fill = _MergedCells(self._merged)
        with _reading(self._path):
            for number, cells in enumerate(_sheet_rows(self._book[self.sheet], values_only=True), start=1):
                texts = tuple(write_cell(value) for value in cells)
                yield SheetRow(number, fill.complete(number, texts))

    def find_unstored(self, places: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Which of these empty cells hold a formula without a result; the sheet is read once more."""
        if not places:
            return set()
        last, found = max(row for row, _ in places), set()
        with _reading(self._path), self._path.open("rb") as file:
            book = _load(file, data_only=False)
            rows = enumerate(_sheet_rows(book[self.sheet], values_only=False), start=1)
            for number, cells in rows:
                if number > last:
                    break
                found |= {
                    (number, index)
                    for index, cell in enumerate(cells)
                    if (number, index) in places and cell.data_type == "f"
                }
        return found

    def _find_merged(self, sheet: Any) -> list[tuple[int, int, int]]:
        """Cells merged downwards: column from 0, first and last row."""
        from openpyxl.utils import column_index_from_string

        found: list[tuple[int, int, int]] = []
        with _reading(self._path), sheet._get_source() as file:
            rest = b""
            while chunk := file.read(_CHUNK):
                piece = rest + chunk
                for match in _MERGED.finditer(piece):
                    first, last = int(match[2]), int(match[3])
                    if first < last and len(found) < _MOST_MERGED:
                        found.append((column_index_from_string(match[1].decode()) - 1, first, last))
                rest = piece[max(piece.rfind(b"<"), len(piece) - 512) :]
        return sorted(set(found), key=lambda item: item[1])


class _MergedCells:
    """Gives every row of a merged cell the text of its first."""

    def __init__(self, ranges: list[tuple[int, int, int]]) -> None:
        self._waiting = ranges[::-1]
        self._open: dict[int, tuple[int, str]] = {}

    def complete(self, number: int, cells: tuple[str, ...]) -> tuple[str, ...]:
        while self._waiting and self._waiting[-1][1] <= number:
            column, _, last = self._waiting.pop()
            if column < MOST_COLUMNS:
                self._open[column] = (last, cells[column] if column < len(cells) else "")
        if not self._open:
            return cells
        self._open = {column: kept for column, kept in self._open.items() if kept[0] >= number}
        filled = list(cells) + [""] * (max(self._open, default=-1) + 1 - len(cells))
        for column, (_, text) in self._open.items():
            filled[column] = filled[column] or text
        return tuple(filled)


def _load(file: IO[bytes], *, data_only: bool) -> Any:
    # Why here: it takes a fifth of a second, and most who start medlora bring JSON lines.
    from openpyxl import load_workbook

    # Given an open file, it does not look at the name's ending.
    return load_workbook(file, read_only=True, data_only=data_only, keep_links=False)


def _sheet_rows(sheet: Any, *, values_only: bool) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # many programs write a false one, and then rows would be missing
    for cells in sheet.iter_rows(max_row=_LAST_ROW, values_only=values_only):
        yield cells[:MOST_COLUMNS]


def write_cell(value: object) -> str:
    """A cell's value as text."""
    from openpyxl.utils.escape import unescape

    if value is None:
        return ""
    if isinstance(value, str):
        return tidy_cell(unescape(value))
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def is_error(text: str) -> bool:
    """Whether a cell shows the error of a formula."""
    return text in _ERRORS


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a broken workbook does to its reader becomes one sentence; its warnings are no news."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="openpyxl")
            yield
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(
            f"{path.name}: the workbook is broken ({type(error).__name__}); open it in Excel or LibreOffice "
            "and save it again as .xlsx"
        ) from error


def is_office_archive(path: Path) -> bool:
    """Whether a zip archive is a document of an office program."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not {"[Content_Types].xml", "mimetype"}.isdisjoint(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return path.suffix.lower() in (".xlsx", ".xlsm")


def check_archive(path: Path) -> None:
    """Look at the archive before anything in it is read.

    Raises: DataError.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = {member.filename for member in members}
        types = b""
        if "[Content_Types].xml" in names:
            with archive.open("[Content_Types].xml") as file:
                types = file.read(1 << 20)
    if b"macroEnabled" in types or any(name.lower().endswith("vbaproject.bin") for name in names):
        raise DataError(f"{path.name}: the workbook holds macros; save it as .xlsx, which has none")
    if b"spreadsheetml" not in types:
        what = "a binary workbook (.xlsb)" if b"sheet.binary" in types else "no .xlsx workbook"
        raise DataError(f"{path.name}: the file is {what}; save the sheet as .xlsx or CSV")
    unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    strings = max(
        (m.file_size for m in members if m.filename.lower().endswith("sharedstrings.xml")), default=0
    )
    bomb = unpacked > _SMALL and unpacked > _MOST_SHRUNK * max(packed, 1)
    if bomb or len(members) > _MOST_MEMBERS or unpacked > _LARGEST_UNPACKED or strings > _LARGEST_STRINGS:
        raise DataError(
            f"{path.name}: the workbook unpacks to {unpacked / 2**20:,.0f} MB in {len(members):,} parts, "
            "which is too much; save the sheet as CSV"
        )

"""From a table to JSON lines: row 17 of the sheet is line 17 of the file, so that a message fits both.

Columns without a role are left behind: what is not needed is not kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from medlora.dataset.rows import Limits, RowProblem
from medlora.dataset.tables.columns import (
    FIELDS,
    Column,
    Role,
    find_header,
    propose_roles,
    read_columns,
)
from medlora.dataset.tables.csv_file import CsvTable
from medlora.dataset.tables.sheet import SheetRow, Table, TableKind
from medlora.dataset.tables.workbook import Workbook, is_error, is_office_archive
from medlora.errors import DataError
from medlora.workspace import write_json

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOOK_ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_CSV_ENDINGS = (".csv", ".tsv", ".tab")
_SAMPLE_ROWS, _SHOWN_ROWS = 200, 3
_MOST_UNSTORED = 10_000

# The share of the rows read so far, as far as that is known.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class TableView:
    """What a table looks like before its columns have roles. rows: the first few below the header."""

    kind: TableKind
    sheets: tuple[str, ...]
    sheet: str
    header_row: int
    columns: list[Column]
    proposed: dict[Role, int]
    rows: list[SheetRow]
    notices: list[str]


@dataclass(frozen=True)
class TableChoice:
    """How a table is to be read. header_row: 0 when there is none."""

    header_row: int
    columns: Mapping[Role, int]
    sheet: str | None = None


@dataclass(frozen=True)
class TableOrigin:
    """Which table a JSONL file was written from. columns: a role's column as messages call it."""

    kind: TableKind
    sheet: str
    header_row: int
    columns: dict[Role, str]
    sha256: str = ""
    problems: list[RowProblem] = field(default_factory=list)

    def relocate(self, problem: RowProblem) -> RowProblem:
        """A problem of the JSONL file, told of the sheet: its row, and the column instead of the field."""
        own = next((item for item in self.problems if item.line == problem.line), None)
        if own is not None:
            return own
        message = problem.message
        if problem.kind == "empty_file":
            message = "there are no rows below the columns' names"
        for role, name in FIELDS.items():
            if role in self.columns and message.startswith(f"{name}: "):
                said = message.removeprefix(f"{name}: ").replace("remove the line", "remove the row")
                message = f"{self.columns[role]}: {said}"
        return replace(problem, message=message, unit="row")

    @property
    def without_problems(self) -> TableOrigin:
        """What is kept with an imported dataset."""
        return replace(self, problems=[])


def is_table(path: Path) -> bool:
    """Whether a file is for this room: CSV by its name, workbooks and their kin by what they hold."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False
    office = head.startswith(_OLE) or (head.startswith(_ZIP) and is_office_archive(path))
    return office or path.suffix.lower() in _CSV_ENDINGS


@contextmanager
def open_table(path: Path, sheet: str | None = None) -> Iterator[Table]:
    """Open a table of either kind.

    Raises: DataError.
    """
    if not path.is_file():
        raise DataError(f"{path.name}: there is no such file; choose a CSV file or a workbook")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_OLE):
        raise DataError(
            f"{path.name}: the workbook is an old one (.xls) or has a password; save it as .xlsx without one"
        )
    if head.startswith(_ZIP):
        with path.open("rb") as file:
            yield Workbook(path, file, sheet)
        return
    if head.startswith(b"%PDF") or path.suffix.lower() in _BOOK_ENDINGS:
        raise DataError(f"{path.name}: this is no workbook and no CSV file inside; save it as .xlsx or .csv")
    if sheet:
        raise DataError(f"{path.name}: a CSV file has no sheets (got {sheet!r}); leave the sheet out")
    yield CsvTable(path)


def look_at_table(path: Path, sheet: str | None = None, header_row: int | None = None) -> TableView:
    """The columns with proposed roles, and the first rows. header_row None: it is looked for.

    Raises: DataError when the file cannot be read or the sheet is empty.
    """
    with open_table(path, sheet) as table:
        sample = []
        for row in table.rows():
            sample.append(row)
            if len(sample) >= _SAMPLE_ROWS + (header_row or 0):
                break
        header = find_header(sample) if header_row is None else header_row
        columns = read_columns(sample, header)
        if not columns:
            raise DataError(_explain_empty(path, table))
        rows = [row for row in sample if row.number > header and not row.blank and not row.wrong]
        return TableView(
            kind=table.kind, sheets=table.sheets, sheet=table.sheet, header_row=header, columns=columns,
            proposed=propose_roles(columns), rows=rows[:_SHOWN_ROWS], notices=list(table.notices),
        )  # fmt: skip


def _explain_empty(path: Path, table: Table) -> str:
    others = ", ".join(repr(name) for name in table.sheets if name != table.sheet)
    if table.sheet:
        instead = f"; choose another ({others})" if others else ""
        return f"{path.name}: the sheet {table.sheet!r} is empty{instead}"
    return f"{path.name}: the file has no rows"


def convert_table(
    path: Path, target: Path, choice: TableChoice, progress: Progress | None = None
) -> TableOrigin:
    """Write the rows of a table to `target` as JSON lines, private to the user.

    Raises: DataError when the rest of the file cannot be read.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open_table(path, choice.sheet) as table, os.fdopen(os.open(target, flags, 0o600), "wb") as out:
        columns = {column.index: column for column in _header_columns(table, choice)}
        writer = _Writer(choice, columns, csv=table.kind == "csv")
        for row in table.rows():
            if row.number > choice.header_row and not writer.take(row, out):
                break
            if progress is not None and row.number % 1000 == 0:
                progress(min(0.99, row.number / (row.number + 20_000)))
        writer.explain_unstored(table)
    return TableOrigin(
        kind=table.kind, sheet=table.sheet, header_row=choice.header_row, columns=writer.places,
        problems=writer.problems,
    )  # fmt: skip


def _header_columns(table: Table, choice: TableChoice) -> list[Column]:
    """All columns of the header; beyond its last one a CSV row has too many cells."""
    for row in table.rows():
        if row.number == choice.header_row:
            return [Column(index, " ".join(cell.split())) for index, cell in enumerate(row.cells)]
        if row.number > choice.header_row:
            break
    return []


@dataclass
class _Writer:
    """Writes rows to their lines and remembers what is wrong with cells."""

    choice: TableChoice
    columns: dict[int, Column]
    csv: bool
    written: int = 0
    rows: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    empty: set[tuple[int, int]] = field(default_factory=set)

    @property
    def places(self) -> dict[Role, str]:
        """Each role's column, as messages call it."""
        return {role: self._column(index).place for role, index in self.choice.columns.items()}

    def _column(self, index: int) -> Column:
        return self.columns.get(index, Column(index, ""))

    def take(self, row: SheetRow, out: IO[bytes]) -> bool:
        """Write one row; False when no more are taken."""
        if row.blank:
            return True
        self.rows += 1
        if self.rows > Limits().max_rows:
            message = (
                f"the sheet has more than {Limits().max_rows:,} rows; what follows was not read; split it"
            )
            self._write(row.number, {"rows": None}, out)
            self.problems.append(RowProblem(row.number, "too_many_rows", message, unit="row"))
            return False
        self._write(row.number, self._record(row), out)
        return True

    def _record(self, row: SheetRow) -> dict[str, Any]:
        """The row as a record; null, which no run accepts, where a cell cannot be used."""
        wrong = (row.kind, row.wrong) if row.wrong else self._count_cells(row)
        record: dict[str, Any] = {}
        for role in sorted(self.choice.columns, key=list(FIELDS).index):
            index = self.choice.columns[role]
            text = row.cell(index)
            if not wrong and is_error(text.strip()):
                message = (
                    f"{self._column(index).place}: a formula failed ({text.strip()}); mend it in the sheet"
                )
                wrong = ("formula_error", message)
            if not text.strip() and role in ("question", "answer") and len(self.empty) < _MOST_UNSTORED:
                self.empty.add((row.number, index))
            if text.strip() or role in ("question", "answer"):
                record[FIELDS[role]] = text
        if wrong:
            self.problems.append(RowProblem(row.number, *wrong, unit="row"))
            return {FIELDS["question"]: None, FIELDS["answer"]: None}
        return record

    def _count_cells(self, row: SheetRow) -> tuple[str, str] | None:
        """A CSV row with more cells than its header: a text was torn at a separator inside it."""
        if not self.csv or not self.columns:
            return None
        cells = max((index + 1 for index, cell in enumerate(row.cells) if cell.strip()), default=0)
        if cells <= len(self.columns):
            return None
        message = (
            f"the row has {cells} cells and the header {len(self.columns)}; a text with the separator in it "
            "must stand in quotation marks"
        )
        return "too_many_cells", message

    def _write(self, number: int, record: Mapping[str, Any], out: IO[bytes]) -> None:
        text = "\n" * (number - self.written - 1) + json.dumps(record, ensure_ascii=False) + "\n"
        out.write(text.encode("utf-8", "backslashreplace"))
        self.written = number

    def explain_unstored(self, table: Table) -> None:
        """Tell an empty cell from a formula whose result the file does not hold."""
        for number, index in sorted(table.find_unstored(self.empty)):
            message = (
                f"{self._column(index).place}: the file holds a formula without its result; open it in Excel "
                "or LibreOffice, save it, and take that file"
            )
            self.problems.append(RowProblem(number, "formula_without_result", message, unit="row"))


# The origin of a converted file lies beside it until the file is imported.
def origin_path(source: Path) -> Path:
    """Where the origin of a converted file is noted."""
    return source.with_suffix(".table.json")


def write_origin(source: Path, origin: TableOrigin) -> None:
    """Note where a converted file came from."""
    write_json(origin_path(source), asdict(origin))


def read_origin(values: Mapping[str, Any]) -> TableOrigin:
    """An origin from its JSON form."""
    problems = [RowProblem(**item) for item in values.get("problems", ())]
    known = {name: values[name] for name in TableOrigin.__dataclass_fields__ if name in values}
    return TableOrigin(**{**known, "problems": problems})

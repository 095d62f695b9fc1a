"""From a file to its rows, in order: each a record or the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from medlora.dataset.lines import LineFile, RawLine
from medlora.dataset.parse import parse_line
from medlora.dataset.shapes import Record, RecordError, recognise

RowSeverity = Literal["error", "filtered"]
RowUnit = Literal["line", "row"]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row is not used. A filtered row is sound, but the settings leave it out.

    unit: what `line` counts for whoever reads it; the rows of the sheet that a file was converted from.
    """

    line: int
    kind: str
    message: str
    severity: RowSeverity = "error"
    unit: RowUnit = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that keep a hostile or mistaken file from taking the machine down."""

    max_line_bytes: int = 1 << 20
    max_rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line that is not blank.

    obj is there when the line holds a JSON object, record and shape when that is usable, problem otherwise.
    """

    line: int
    shape: str | None = None
    record: Record | None = None
    obj: dict[str, Any] | None = None
    problem: RowProblem | None = None
    data: bytes = b""


def read_rows(file: LineFile, limits: Limits) -> Iterator[Row]:
    """Every row of the file. Ends early, with a problem, where the rest cannot be read as lines at all."""
    if other := file.other_format():
        yield Row(1, problem=RowProblem(1, "not_text_file", f"the file is {other}"))
        return
    rows = 0
    for line in file.read(limits.max_line_bytes):
        if line.blank:
            continue
        rows += 1
        if rows > limits.max_rows:
            message = (
                f"the file has more than {limits.max_rows:,} rows; what follows was not read; split the file"
            )
            yield Row(line.number, problem=RowProblem(line.number, "too_many_rows", message))
            return
        row = _read_row(line, limits)
        if rows == 1 and (whole := _spread_over_lines(line, row)):
            yield Row(line.number, problem=whole, data=line.data)
            return
        yield row


def batch_rows(rows: Iterator[Row], size: int = 64) -> Iterator[list[Row]]:
    """The rows in small lists, since lengths are measured many at a time."""
    while batch := list(islice(rows, size)):
        yield batch


def _read_row(line: RawLine, limits: Limits) -> Row:
    if line.length > len(line.data):
        message = (
            f"the line is {line.length:,} bytes long (at most {limits.max_line_bytes:,}); "
            "one record is one question and its answer"
        )
        return Row(line.number, problem=RowProblem(line.number, "line_too_long", message))
    obj = None
    try:
        obj = parse_line(line)
        shape, record = recognise(obj, line.number)
    except RecordError as error:
        problem = RowProblem(line.number, error.kind, error.message)
        return Row(line.number, obj=obj, problem=problem, data=line.data)
    return Row(line.number, shape=shape, record=record, obj=obj, data=line.data)


def _spread_over_lines(line: RawLine, row: Row) -> RowProblem | None:
    """The one problem of a file that is a single JSON document over many lines, or a table."""
    start = line.data.strip()
    if row.problem is None or row.obj is not None or not line.ended:
        return None
    if start[:1] == b"[" and row.problem.kind == "invalid_json":
        what = "one JSON array over several lines"
        return RowProblem(line.number, "json_array", f"the file is {what}; write one object per line")
    if start == b"{":
        what = "JSON spread over several lines"
        return RowProblem(line.number, "json_spread", f"the file is {what}; write each object on one line")
    return None

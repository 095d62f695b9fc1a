"""A CSV file: its encoding and its separator are found out, then it is read record by record.

Covered: UTF-8 with and without a mark, UTF-16, Windows-1252; comma, semicolon, tab and bar; Excel's `sep=`
line; quotes and line breaks in cells; a quotation mark that is never closed, which would swallow the rest.
Not covered: other encodings (they are told apart by nothing in the file); escapes by backslash.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TextIO

from medlora.dataset.tables.sheet import MOST_COLUMNS, SheetRow, TableKind, tidy_cell
from medlora.errors import DataError

_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE_CHARS = 1 << 16
_CHUNK = 1 << 20
_LONGEST_LINE = 4 << 20
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class CsvTable:
    """A CSV file as a table with one sheet."""

    kind: TableKind = "csv"
    sheets: tuple[str, ...] = ()
    sheet = ""

    def __init__(self, path: Path) -> None:
        """Raises: DataError when the file is no text in a known encoding."""
        self._path = path
        self._encoding = find_encoding(path)
        self._hint = ""
        with self._open() as file:
            sample = file.read(_SAMPLE_CHARS)
        if hint := re.match(r"sep=(.)\r?\n", sample):
            self._hint, sample = hint[1], sample[hint.end() :]
        self._separator = self._hint or find_separator(sample, whole=len(sample) < _SAMPLE_CHARS)
        self.notices = []
        if self._encoding == "cp1252":
            self.notices.append(
                "The file is not UTF-8, so it was read as Windows-1252. Look at letters with accents below."
            )
        if self._separator != ",":
            self.notices.append(f"Cells are separated by {_NAMES.get(self._separator, self._separator)}.")

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding, newline="")

    def rows(self) -> Iterator[SheetRow]:
        """Every record; the first that is not a comment for Excel is row 1.

        Raises: DataError when the rest cannot be read.
        """
        with self._open() as file:
            lines = _bounded_lines(file, self._path.name)
            if self._hint:
                next(lines)
            reader = csv.reader(lines, delimiter=self._separator, strict=True)
            number = 0
            while True:
                number, begins = number + 1, reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield _explain(error, number, begins)
                    if not _goes_on(error):
                        return
                else:
                    yield SheetRow(number, tuple(map(tidy_cell, cells[:MOST_COLUMNS])))

    def find_unstored(self, places: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """None: a CSV file holds no formulas."""
        return set()


def _goes_on(error: csv.Error) -> bool:
    """Whether the next line may be a record; not within a quotation that never ends."""
    return "expected after" in str(error)


def _explain(error: csv.Error, number: int, line: int) -> SheetRow:
    at = f" (line {line} of the file)" if line != number else ""
    if _goes_on(error):
        message = (
            f"a quotation mark stands inside a quoted cell{at}; write it twice, or export the sheet again"
        )
        return SheetRow(number, (), "stray_quote", message)
    message = (
        f"a cell that begins in this row{at} has no closing quotation mark, or more than "
        f"{csv.field_size_limit():,} characters; nothing after it was read"
    )
    return SheetRow(number, (), "open_quote", message)


def _bounded_lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    try:
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE and not line.endswith("\n"):
                raise DataError(
                    f"{name}: line {number} has more than {_LONGEST_LINE:,} characters; "
                    "a table has one record in a row"
                )
            yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the file changed while it was read; try again") from error


def find_encoding(path: Path) -> str:
    """The name of a CSV file's encoding; the whole file is looked at, a piece at a time.

    Raises: DataError when it is none of those that are known.
    """
    with path.open("rb") as file:
        head = file.read(512)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _require(path, encoding)
    pairs = len(head) // 2
    if pairs >= 4 and head[1::2].count(0) > 0.8 * pairs:
        return _require(path, "utf-16-le")
    if pairs >= 4 and head[::2].count(0) > 0.8 * pairs:
        return _require(path, "utf-16-be")
    return "utf-8" if _decodes(path, "utf-8") else _require(path, "cp1252")


def _require(path: Path, encoding: str) -> str:
    if not _decodes(path, encoding):
        raise DataError(
            f"{path.name}: the text is neither UTF-8 nor UTF-16 nor Windows-1252; save it as “CSV UTF-8”"
        )
    return encoding


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def find_separator(sample: str, *, whole: bool) -> str:
    """The separator that gives most rows of a sample the same number of cells, two or more."""
    best, chosen = (0.0, 0), ","
    for separator in _SEPARATORS:
        counts = _count_cells(sample, separator, whole=whole)
        if not counts:
            continue
        width, rows = max(counts.items(), key=lambda item: (item[1], item[0]))
        score = (rows / counts.total() if width > 1 else 0.0, width)
        if score > best and width > 1:
            best, chosen = score, separator
    return chosen


def _count_cells(sample: str, separator: str, *, whole: bool) -> Counter[int]:
    try:
        rows = [len(row) for row in csv.reader(StringIO(sample, newline=""), delimiter=separator) if row]
    except csv.Error:
        return Counter()
    return Counter(rows if whole else rows[:-1])

"""The physical lines of a file, never more than one of them in memory, with the file's SHA-256.

A line ends with LF; CR before it and a byte order mark at the start of the file do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from medlora.errors import DataError

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
# First bytes that say what a file is instead.
_OTHER_FORMATS = (
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook; unpack it, or export it as JSON lines"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"%PDF", "a PDF; a dataset is a text file with one JSON object per line"),
    (b"PAR1", "a Parquet file; export it as JSON lines"),
    (b"SQLite format 3", "a SQLite database; export it as JSON lines"),
)


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line without its ending. An over-long line has its length but no data."""

    number: int
    data: bytes
    length: int
    ended: bool

    @property
    def blank(self) -> bool:
        return not self.data.strip() and self.length == len(self.data)


class LineFile:
    """An open dataset file."""

    def __init__(self, path: Path) -> None:
        """Raises: DataError when there is no such file or it cannot be read."""
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "there is no such file"
            raise DataError(f"{path.name}: {what}; choose a JSONL file")
        try:
            self._file = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path.name}: the file cannot be read ({error.strerror})") from error
        self._hash = hashlib.sha256()
        self.position = 0

    def __enter__(self) -> LineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def other_format(self) -> str | None:
        """What the file is, in words, if its first bytes say that it is no UTF-8 text."""
        head = self._file.read(512)
        self._file.seek(0)
        for magic, what in _OTHER_FORMATS:
            if head.startswith(magic):
                return what
        # UTF-16 without a mark: every other byte of plain text is zero.
        pairs = len(head) // 2
        if pairs >= 4 and max(head[::2].count(0), head[1::2].count(0)) > 0.8 * pairs:
            return "UTF-16 text; save it as UTF-8"
        return None

    def read(self, max_line_bytes: int) -> Iterator[RawLine]:
        """The lines in order."""
        number = 0
        while piece := self._take(max_line_bytes + 2):
            number += 1
            length, ended = len(piece), piece.endswith(b"\n")
            while not ended and (more := self._take(_CHUNK)):
                length, ended = length + len(more), more.endswith(b"\n")
                if more.strip(b"\r\n"):
                    piece = b""
            if number == 1:
                piece = piece.removeprefix(_BOM)
            data = piece.removesuffix(b"\n").removesuffix(b"\r")
            if len(data) > max_line_bytes or (not data and length > max_line_bytes):
                yield RawLine(number, b"", length, ended)
            else:
                yield RawLine(number, data, len(data), ended)

    def _take(self, limit: int) -> bytes:
        piece = self._file.readline(limit)
        self._hash.update(piece)
        self.position += len(piece)
        return piece

    def sha256(self) -> str:
        """The hash of the whole file, whatever was read of it."""
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.position += len(chunk)
        return self._hash.hexdigest()

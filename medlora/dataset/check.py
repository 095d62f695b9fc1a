"""What a file holds: every row used or accounted for, before anything is trained on it.

A file is streamed: kept are hashes, lengths and findings, never the rows, so that a file larger than the
memory can be checked. No message carries a record's text, since messages may be logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medlora.dataset.duplicates import Duplicate, ExactDuplicates, NearDuplicates
from medlora.dataset.lengths import LengthGauge, LengthSettings, TokenStats
from medlora.dataset.lines import LineFile
from medlora.dataset.phi import PhiFinding, scan_object
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.rows import Limits, Row, RowProblem, RowUnit, batch_rows, read_rows
from medlora.dataset.shapes import Record

_MOST_PHI = 10_000

# The share of the file read so far, 0 to 1.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class CheckOptions:
    """How a file is checked; the defaults are those of the config."""

    lengths: LengthSettings = field(default_factory=LengthSettings)
    limits: Limits = field(default_factory=Limits)
    scan_phi: bool = True
    seek_near_duplicates: bool = True


@dataclass(frozen=True)
class CheckReport:
    """What is in the file.

    rows: lines that are not blank. valid: rows with no problem and not filtered out, duplicates included.
    problems: by line; those of severity `error` need the user's consent before the rest is used.
    phi: the first findings; phi_found counts all. shape: `mixed` when rows differ, None without a usable row.
    unit: what line numbers count, for a file that was converted from a table the rows of its sheet.
    """

    rows: int
    valid: int
    shape: str | None
    shapes: dict[str, int]
    problems: list[RowProblem]
    duplicates: list[Duplicate]
    phi: list[PhiFinding]
    phi_found: int
    phi_rows: int
    tokens: TokenStats | None
    sha256: str
    size_bytes: int
    notices: list[str]
    unit: RowUnit = "line"

    @property
    def errors(self) -> list[RowProblem]:
        """Rows that are wrong, as opposed to left out by the settings."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def filtered(self) -> list[RowProblem]:
        """Sound rows that min_length, max_length or truncation leave out."""
        return [problem for problem in self.problems if problem.severity == "filtered"]

    @property
    def usable(self) -> int:
        """Rows a run would use: valid ones, less exact copies."""
        return self.valid - sum(not duplicate.near for duplicate in self.duplicates)


@dataclass
class _Tally:
    """What grows while the file is read."""

    options: CheckOptions
    gauge: LengthGauge
    rows: int = 0
    valid: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    problems: list[RowProblem] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    phi: list[PhiFinding] = field(default_factory=list)
    phi_found: int = 0
    phi_lines: int = 0
    exact: ExactDuplicates = field(default_factory=ExactDuplicates)
    near: NearDuplicates | None = None

    def take(self, batch: list[Row]) -> None:
        for row in batch:
            self._take_one(row)
        good = [(row, row.record) for row in batch if row.record is not None]
        verdicts = self.gauge.judge([record for _, record in good])
        for (row, record), verdict in zip(good, verdicts, strict=True):
            if verdict is not None:
                self.problems.append(verdict)
            else:
                self._take_valid(row, record)

    def _take_one(self, row: Row) -> None:
        self.rows += 1
        if row.problem is not None:
            self.problems.append(row.problem)
        if row.obj is not None and self.options.scan_phi:
            findings = list(scan_object(row.obj, row.line))
            self.phi_found += len(findings)
            self.phi_lines += bool(findings)
            self.phi += findings[: max(0, _MOST_PHI - len(self.phi))]

    def _take_valid(self, row: Row, record: Record) -> None:
        self.valid += 1
        self.shapes[row.shape or ""] += 1
        if (of := self.exact.first_line(record)) is not None:
            self.duplicates.append(Duplicate(row.line, of, near=False))
        elif self.near is not None:
            self.near.add(record)


def check_file(
    path: Path,
    options: CheckOptions,
    tokenizer: ChatTokenizer | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read the whole file once and report on it.

    Raises: DataError when there is no such file or it cannot be read.
    """
    tally = _Tally(options, LengthGauge(options.lengths, tokenizer))
    if options.seek_near_duplicates:
        tally.near = NearDuplicates()
    with LineFile(path) as file:
        for batch in batch_rows(read_rows(file, options.limits)):
            tally.take(batch)
            if progress is not None:
                progress(min(1.0, file.position / max(1, file.size)))
        sha256 = file.sha256()
        size = file.size
    if tally.rows == 0:
        tally.problems.append(
            RowProblem(1, "empty_file", "the file has no rows; write one JSON object per line")
        )
    duplicates = tally.duplicates + (tally.near.pairs() if tally.near is not None else [])
    return CheckReport(
        rows=tally.rows,
        valid=tally.valid,
        shape=_one_shape(tally.shapes),
        shapes=dict(tally.shapes),
        problems=sorted(tally.problems, key=lambda problem: problem.line),
        duplicates=sorted(duplicates, key=lambda duplicate: duplicate.line),
        phi=tally.phi,
        phi_found=tally.phi_found,
        phi_rows=tally.phi_lines,
        tokens=tally.gauge.stats(),
        sha256=sha256,
        size_bytes=size,
        notices=_notices(tally),
    )


def _one_shape(shapes: Counter[str]) -> str | None:
    return None if not shapes else next(iter(shapes)) if len(shapes) == 1 else "mixed"


def _notices(tally: _Tally) -> list[str]:
    said = []
    if len(tally.shapes) > 1:
        listed = ", ".join(f"{shape} ({count})" for shape, count in tally.shapes.most_common())
        said.append(f"The rows have several shapes: {listed}. All of them are used.")
    if tally.gauge.tokenizer is None and tally.valid:
        said.append("The model is not at hand yet, so token counts are estimated from the number of words.")
    if tally.phi_found > len(tally.phi):
        said.append(
            f"{tally.phi_found:,} findings of personal data; the first {len(tally.phi):,} are listed."
        )
    return said

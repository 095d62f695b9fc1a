"""The records a run uses, read again from the file that was checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medlora.dataset.duplicates import Duplicate, ExactDuplicates
from medlora.dataset.lengths import LengthGauge, LengthSettings
from medlora.dataset.lines import LineFile
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.rows import Limits, Row, RowProblem, batch_rows, read_rows
from medlora.dataset.shapes import Record
from medlora.errors import DataError

_NAMED_PROBLEMS = 5


@dataclass(frozen=True)
class LoadedRecords:
    """The records to learn from, and what became of the others. sha256 is that of the bytes read."""

    records: list[Record]
    rows: int
    problems: list[RowProblem]
    duplicates: list[Duplicate]
    sha256: str


@dataclass
class RecordReader:
    """One pass over a file; what it left out is known when it is through."""

    lengths: LengthSettings = field(default_factory=LengthSettings)
    tokenizer: ChatTokenizer | None = None
    limits: Limits = field(default_factory=Limits)
    rows: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    on_reject: Callable[[Row, RowProblem], None] | None = None

    def read(self, file: LineFile) -> Iterator[Record]:
        """The usable records in the order of the file; exact copies are read once."""
        gauge, exact = LengthGauge(self.lengths, self.tokenizer), ExactDuplicates()
        for batch in batch_rows(read_rows(file, self.limits)):
            self.rows += len(batch)
            records = [row.record for row in batch if row.record is not None]
            verdicts = dict(zip((r.line for r in records), gauge.judge(records), strict=True))
            for row in batch:
                problem = row.problem or verdicts.get(row.line)
                if problem is not None:
                    self._reject(row, problem)
                elif row.record is not None:
                    of = exact.first_line(row.record)
                    if of is None:
                        yield row.record
                    else:
                        self.duplicates.append(Duplicate(row.line, of, near=False))

    def _reject(self, row: Row, problem: RowProblem) -> None:
        self.problems.append(problem)
        if self.on_reject is not None:
            self.on_reject(row, problem)


def load_records(
    path: Path,
    lengths: LengthSettings | None = None,
    tokenizer: ChatTokenizer | None = None,
    *,
    skip_bad_rows: bool = False,
) -> LoadedRecords:
    """Every usable record of a file.

    Raises: DataError when rows are wrong and the user did not accept their loss, or when none is left.
    """
    reader = RecordReader(lengths or LengthSettings(), tokenizer)
    with LineFile(path) as file:
        records = list(reader.read(file))
        sha256 = file.sha256()
    errors = [problem for problem in reader.problems if problem.severity == "error"]
    if errors and not skip_bad_rows:
        raise DataError(explain_bad_rows(path.name, errors, reader.rows))
    if not records:
        why = f"; the first: {reader.problems[0]}" if reader.problems else ""
        raise DataError(f"{path.name}: no row is left to train on (got {reader.rows} rows{why})")
    return LoadedRecords(records, reader.rows, reader.problems, reader.duplicates, sha256)


def explain_bad_rows(name: str, errors: list[RowProblem], rows: int) -> str:
    """The message for a file with bad rows whose loss nobody accepted."""
    first = "; ".join(str(problem) for problem in errors[:_NAMED_PROBLEMS])
    more = f"; and {len(errors) - _NAMED_PROBLEMS} more" if len(errors) > _NAMED_PROBLEMS else ""
    return (
        f"{name}: {len(errors)} of {rows} rows cannot be used ({first}{more}); "
        "mend them, or agree to leave them out (on the command line: --skip-bad-rows)"
    )


def write_rejects(
    path: Path,
    target: Path,
    lengths: LengthSettings,
    tokenizer: ChatTokenizer | None,
    explain: Callable[[RowProblem], RowProblem] | None = None,
) -> int:
    """Write every row that is not used to `target`, one JSON object each: line, kind, reason, original.

    explain: says of a problem where it is in the table that the file was converted from.
    Why the original stands in it: it is what the user has to mend. Hence the file is private (0600).
    """
    written = 0
    with target.open("w", encoding="utf-8", newline="\n") as out, LineFile(path) as file:
        target.chmod(0o600)

        def write(row: Row, problem: RowProblem) -> None:
            nonlocal written
            problem = explain(problem) if explain is not None else problem
            original = row.data.decode("utf-8", "backslashreplace")
            entry = {"line": row.line, "kind": problem.kind, "reason": problem.message, "original": original}
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
            written += 1

        reader = RecordReader(lengths, tokenizer, on_reject=write)
        for _ in reader.read(file):
            pass
    return written

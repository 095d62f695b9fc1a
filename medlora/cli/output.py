"""What every command prints through: plain lines for people, one JSON document for scripts."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.errors import UserError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
YesFlag = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; may be given several times."),
]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def print_json(value: Any, *, one_line: bool = False) -> None:
    """One JSON document on stdout; dataclasses and paths become plain values."""
    layout: dict[str, Any] = {"separators": (",", ":")} if one_line else {"indent": 2}
    print(json.dumps(value, ensure_ascii=False, default=_plain, **layout), flush=True)


def print_problems(lines: Iterable[object]) -> None:
    """One problem a line, on stderr."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def check_target(option: str, target: Path, *, fresh: bool = True) -> Path:
    """Where a command is to write. Why before it works: an hour's merge must not end at a slip in a path.

    fresh: what is there already is not replaced.
    Raises: UserError.
    """
    if fresh and target.exists():
        raise UserError(
            f"{option}: there is a file or folder of this name already (got {target}); name another"
        )
    folder = target.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{option}: there is no folder {folder} (got {target}); make it, or name another")
    return target


def confirm(question: str) -> None:
    """Ask on the terminal whether to go on.

    Raises: UserError for a no, or where nobody can answer.
    """
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise UserError("there is nobody to ask here, so nothing was done; add --yes to go on") from None
    if not agreed:
        raise UserError("you answered no, so nothing was done")


def confirm_at_terminal(question: str, yes: bool) -> None:
    """Ask a person, but no script: what a command always did without asking, a pipe may still do.

    Raises: UserError for a no.
    """
    if not yes and sys.stdin is not None and sys.stdin.isatty():
        confirm(question)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Left-aligned columns, as wide as their longest cell; figures with four decimals."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

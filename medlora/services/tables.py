"""CSV files and workbooks on their way to a dataset: looked at, converted by the columns' roles, checked.

A converted file is JSON lines like any other; beside it lies, until it is imported, which sheet and columns
it came from, so that whatever is wrong is told of the sheet's rows and columns.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medlora.dataset import store
from medlora.dataset.check import CheckReport, Progress
from medlora.dataset.store import DatasetCard
from medlora.dataset.tables import convert
from medlora.dataset.tables.columns import FIELDS, check_roles, choose_columns
from medlora.dataset.tables.convert import TableChoice, TableOrigin, TableView
from medlora.errors import DataError
from medlora.workspace import make_private

is_table = convert.is_table


@dataclass(frozen=True)
class Reading:
    """How to read a table, as somebody says it. roles: role → a column's header or letter; empty: by name.

    header_row: 0 when there is none; None: it is looked for.
    """

    roles: Mapping[str, str]
    sheet: str | None = None
    header_row: int | None = None


def look(path: Path, sheet: str | None = None, header_row: int | None = None) -> TableView:
    """The sheets, columns, proposed roles and first rows of a table.

    Raises: UserError when it cannot be read, or when it is a text file of another kind.
    """
    if path.is_file() and not is_table(path) and path.suffix.lower() in (".jsonl", ".json"):
        raise DataError(f"{path.name}: this is JSON, which needs no columns; import it with `data add`")
    return convert.look_at_table(path, sheet, header_row)


def choose(path: Path, reading: Reading) -> TableChoice:
    """What somebody said about a table, against what is in it.

    Raises: UserError when a column is not there, or question or answer are not known.
    """
    view = look(path, reading.sheet, reading.header_row)
    columns = choose_columns(view.columns, reading.roles) if reading.roles else view.proposed
    if not reading.roles and not {"question", "answer"} <= set(columns):
        known = ", ".join(column.place.removeprefix("column ") for column in view.columns)
        raise DataError(
            f"{path.name}: the columns' names do not say which is the question and which the answer "
            f"(there are: {known}); say so with --map question=… --map answer=…"
        )
    return TableChoice(view.header_row, columns, view.sheet or None)


def convert_upload(path: Path, choice: TableChoice, base: Path, progress: Progress | None = None) -> Path:
    """A JSONL file made from a table, with its origin, in a private folder below `base`; drop it after use.

    Raises: UserError when roles are missing or the table cannot be read.
    """
    check_roles(choice.columns)
    folder = make_private(base / f"table-{secrets.token_hex(8)}")
    target = folder / f"{path.stem or 'table'}.jsonl"
    try:
        origin = convert.convert_table(path, target, choice, progress)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        convert.write_origin(target, replace(origin, sha256=sha256))
    except BaseException:
        drop_converted(target)
        raise
    return target


def drop_converted(path: Path) -> None:
    """Remove a converted file with its origin and its folder."""
    for left in (path, convert.origin_path(path)):
        left.unlink(missing_ok=True)
    if path.parent.name.startswith("table-") and path.parent.is_dir():
        path.parent.rmdir()


def title_of(path: Path, choice: TableChoice) -> str:
    """What a dataset from this table is called on the screen."""
    return store.clean_title(f"{path.name} · {choice.sheet}" if choice.sheet else path.name)


# Where things are in the table
def origin_of(path: Path, card: DatasetCard | None) -> TableOrigin | None:
    """The table behind a converted file or an imported dataset; None when there was none."""
    if card is not None:
        return convert.read_origin(card.table) if card.table else None
    noted = convert.origin_path(path)
    if not noted.is_file():
        return None
    return convert.read_origin(json.loads(noted.read_text(encoding="utf-8")))


def note_origin(origin: TableOrigin | None) -> dict[str, Any] | None:
    """The origin as a dataset's card keeps it."""
    return asdict(origin.without_problems) if origin is not None else None


def describe(table: Mapping[str, Any] | None) -> str:
    """`question from column B (Asked), answer from column C`; empty where there was no table."""
    columns: Mapping[str, str] = (table or {}).get("columns", {})
    return ", ".join(f"{role} from {column}" for role, column in columns.items())


def locate(report: CheckReport, origin: TableOrigin | None) -> CheckReport:
    """A report that speaks of the sheet's rows and columns."""
    if origin is None:
        return report
    columns = {FIELDS[role]: place for role, place in origin.columns.items()}
    return replace(
        report,
        problems=[origin.relocate(item) for item in report.problems],
        phi=[replace(item, field=columns.get(item.field, item.field)) for item in report.phi],
        unit="row",
    )

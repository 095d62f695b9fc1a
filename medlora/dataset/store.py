"""Imported datasets: `data/<name>/source.jsonl` and, written last, `meta.json`."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medlora.dataset.lines import LineFile
from medlora.dataset.phi import redact_value
from medlora.dataset.rows import Limits, read_rows
from medlora.dataset.tables.convert import is_table
from medlora.errors import DataError, NotFoundError, UserError
from medlora.workspace import Workspace, check_name, computer_user, make_private, write_json

PhiChoice = Literal["rights", "redact"]
_SOURCE, _META = "source.jsonl", "meta.json"
_NAME_LENGTH, _TITLE_LENGTH = 48, 80


@dataclass(frozen=True)
class DatasetCard:
    """What is known of an imported dataset.

    rows, valid, usable, shape: as the check found them at the import, with the settings of that moment.
    phi_choice: how the user settled the findings of the PHI scan; None while it is open.
    table: which sheet and columns it was converted from, and the SHA-256 of that file; None for JSON lines.
    """

    name: str
    title: str
    sha256: str
    size_bytes: int
    rows: int
    valid: int
    usable: int
    shape: str | None
    created: str
    accepted_rejects: bool = False
    phi_rows: int = 0
    phi_choice: PhiChoice | None = None
    phi_settled_by: str | None = None
    phi_settled_at: str | None = None
    table: dict[str, Any] | None = None

    @property
    def phi_record(self) -> dict[str, Any] | None:
        """What provenance keeps of the PHI scan and of what was decided; None where it found nothing."""
        if self.phi_rows == 0:
            return None
        decided = {"choice": self.phi_choice, "by": self.phi_settled_by, "at": self.phi_settled_at}
        return {"rows": self.phi_rows, **decided}

    @property
    def phi_settled(self) -> bool:
        """Whether nothing in the PHI scan keeps a run waiting."""
        return self.phi_rows == 0 or self.phi_choice is not None


def clean_title(text: str) -> str:
    """A name for the screen: one line, without control, direction and other invisible characters."""
    kept = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " if c.isspace() else "" for c in text)
    return " ".join(kept.split())[:_TITLE_LENGTH] or "dataset"


def make_name(text: str) -> str:
    """A folder name from any text: `Ärzte Q&A (1).jsonl` → `arzte-q-a-1`."""
    stem = re.sub(r"\.(?:jsonl?|ndjson|txt|csv|tsv|tab|xlsx)$", "", clean_title(text), flags=re.IGNORECASE)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:_NAME_LENGTH].strip("-")
    try:
        return check_name(slug, "dataset")
    except UserError:
        return f"dataset-{slug}".rstrip("-")


def source_path(ws: Workspace, name: str) -> Path:
    """The rows of an imported dataset."""
    return ws.dataset(name) / _SOURCE


def list_cards(ws: Workspace) -> list[DatasetCard]:
    """Every imported dataset, the newest first. A folder without a readable card is none."""
    folders = [path for path in ws.datasets.iterdir() if path.is_dir() and not path.name.startswith(".")]
    cards = [card for folder in folders if (card := _read_meta(folder)) is not None]
    return sorted(cards, key=lambda card: (card.created, card.name), reverse=True)


def read_card(ws: Workspace, name: str) -> DatasetCard:
    """Raises: NotFoundError."""
    card = _read_meta(ws.dataset(name))
    if card is None:
        known = (card.name for card in list_cards(ws))
        raise NotFoundError.among("dataset: there is none of this name", name, known)
    return card


def _read_meta(folder: Path) -> DatasetCard | None:
    try:
        values = json.loads((folder / _META).read_text(encoding="utf-8"))
        known = {key: values[key] for key in DatasetCard.__dataclass_fields__ if key in values}
        return replace(DatasetCard(**known), name=folder.name)
    except (OSError, ValueError, TypeError):
        return None


def find_source(ws: Workspace, name_or_path: str | Path) -> tuple[Path, DatasetCard | None]:
    """The file behind a dataset's name, or behind a path: where one is, else below the app's folders.

    Raises: NotFoundError when neither is there; DataError for a table that was not imported.
    """
    text = str(name_or_path)
    if not isinstance(name_or_path, Path):
        try:
            card = _read_meta(ws.dataset(text))
        except UserError:
            card = None
        if card is not None:
            return source_path(ws, card.name), card
    path = Path(text).expanduser()
    for base in (Path.cwd(), ws.home, ws.checkout):
        if (base / path).is_file():
            return refuse_table((base / path).resolve()), None
    known = (card.name for card in list_cards(ws))
    raise NotFoundError.among("dataset: there is no such file and no such dataset", text, known)


def refuse_table(path: Path) -> Path:
    """The file itself, unless it is a table.

    Raises: DataError for a table: which column is what must be said before its rows are records.
    """
    if is_table(path):
        raise DataError(f"{path.name}: a table's columns need roles first; import it: `data import FILE`")
    return path


def add_source(ws: Workspace, source: Path, card: DatasetCard) -> DatasetCard:
    """Copy a checked file in under the card's name; a taken name gets `-2`.

    Why a rename: a dataset is there whole or not at all.
    Raises: DataError when the file changed since it was checked.
    """
    staging = make_private(ws.datasets / f".adding-{secrets.token_hex(8)}")
    try:
        target = staging / _SOURCE
        if _write_copy(source, target) != card.sha256:
            raise DataError(f"{card.title}: the file changed while it was read; add it again")
        return _publish(ws, staging, card)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(ws: Workspace, staging: Path, card: DatasetCard) -> DatasetCard:
    for name in _free_names(card.name):
        card = replace(card, name=name)
        write_json(staging / _META, asdict(card))
        if ws.dataset(name).exists():
            continue
        try:
            staging.rename(ws.dataset(name))
        except OSError:
            if ws.dataset(name).exists():
                continue  # someone else took the name in this moment
            raise
        break
    return card


def _free_names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _open_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def _write_copy(source: Path, target: Path) -> str:
    with source.open("rb") as rows, os.fdopen(_open_private(target), "wb") as out:
        shutil.copyfileobj(rows, out, 1 << 20)
    with LineFile(target) as file:
        return file.sha256()


def write_redacted(source: Path, target: Path) -> None:
    """Copy the objects of a file with every finding replaced. Lines that are no objects are left blank."""
    at = 0
    with LineFile(source) as file, os.fdopen(_open_private(target), "wb") as out:
        for row in read_rows(file, Limits()):
            if row.obj is not None:
                line = json.dumps(redact_value(row.obj), ensure_ascii=False) + "\n"
                out.write(("\n" * (row.line - at - 1) + line).encode("utf-8", "backslashreplace"))
                at = row.line


def update_card(ws: Workspace, card: DatasetCard) -> DatasetCard:
    """Write the card back."""
    write_json(ws.dataset(card.name) / _META, asdict(card))
    return card


def now() -> str:
    """The time as cards write it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def settle_phi(card: DatasetCard, choice: PhiChoice, by: str | None = None) -> DatasetCard:
    """The card with the user's decision on what the PHI scan found: who took it, and when.

    by: the name of whoever is logged in; else that of this computer's user.
    """
    return replace(card, phi_choice=choice, phi_settled_by=by or computer_user(), phi_settled_at=now())


def remove_source(ws: Workspace, name: str) -> None:
    """Delete a dataset: out of sight by a rename, then for good.

    Raises: NotFoundError.
    """
    read_card(ws, name)
    gone = ws.datasets / f".removed-{secrets.token_hex(8)}"
    ws.dataset(name).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)

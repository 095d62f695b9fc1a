"""Everything that was made from a dataset, and its end.

Covered: the dataset and its card, rows that were handed out or rejected, uploads with the same bytes, tokens
that were kept of it, every run that read it (with checkpoints, log and record) and, unless they are kept, the
adapters those runs published with their exports.
Not covered: files you gave to medlora by their path and files you downloaded, backups, what a disk keeps of
deleted blocks, conversations that were kept (`conversations delete`), and names of adapters in the audit,
which nobody may edit. An adapter that is kept may have learned sentences by heart; its provenance names the
dataset, its SHA-256 and counts, and quotes none of its rows.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.dataset import kept_tokens, store
from medlora.errors import NotFoundError, UserError
from medlora.runs import queue
from medlora.runs.live import observe
from medlora.runs.state import ACTIVE
from medlora.runs.store import list_runs, load_record, remove_run
from medlora.services import adapters, data
from medlora.workspace import RunPaths, Workspace


@dataclass(frozen=True)
class Holdings:
    """What there is of a dataset. copies: other datasets with the very same bytes, which are left alone."""

    name: str
    stored: bool
    runs: tuple[str, ...]
    adapters: tuple[str, ...]
    copies: tuple[str, ...]


def find_holdings(ws: Workspace, name: str) -> Holdings:
    """Everything that was made from a dataset of that name, also when the dataset itself is gone already.

    Raises: NotFoundError when nothing is left of it.
    """
    cards = {card.name: card for card in store.list_cards(ws)}
    card = cards.get(name)
    sums = {card.sha256} if card is not None else set()
    runs = [run for run in list_runs(ws) if _stems_from(load_record(run), name, sums)]
    library = adapters.list_adapters(ws)
    made = [item.name for item in library if _stems_from(item.provenance, name, sums)]
    if card is None and not runs and not made:
        raise NotFoundError(f"dataset: nothing is left of one named {name!r}")
    copies = tuple(other.name for other in cards.values() if other.name != name and other.sha256 in sums)
    return Holdings(name, card is not None, tuple(run.run_id for run in runs), tuple(made), copies)


def _stems_from(made: Mapping[str, Any], name: str, sums: set[str]) -> bool:
    """Whether a run or an adapter has learned from that dataset, itself or in the adapter it went on from."""
    earlier = (made.get("parent") or {}).get("datasets", [])
    return any(_is_about(dataset, name, sums) for dataset in (made.get("dataset"), *earlier))


def _is_about(dataset: object, name: str, sums: set[str]) -> bool:
    return isinstance(dataset, dict) and (dataset.get("name") == name or dataset.get("sha256") in sums)


def erase_dataset(ws: Workspace, name: str, *, keep_adapters: bool = False) -> Holdings:
    """Delete everything that was made from a dataset; what there was.

    Raises: NotFoundError; UserError, before anything is deleted, while a run of it is queued or going.
    """
    held = find_holdings(ws, name)
    with queue.lock_queue(ws):
        runs = [ws.run(run_id) for run_id in held.runs]
        _refuse_active(runs)
        for adapter in () if keep_adapters else held.adapters:
            adapters.delete(ws, adapter)
        sums = {_sum_of(load_record(run).get("dataset")) for run in runs}
        for run in runs:
            remove_run(run)
    if held.stored:
        card = store.read_card(ws, name)
        sums |= {card.sha256, str((card.table or {}).get("sha256"))}
        data.remove_dataset(ws, name)
    _sweep(ws, sums)
    kept_tokens.forget(ws, sums)
    return held


def forget_unread(ws: Workspace) -> None:
    """Delete kept tokens of which no dataset and no run tells any more: the last run of a file went."""
    read = {_sum_of(load_record(run).get("dataset")) for run in list_runs(ws)}
    stored = {card.sha256 for card in store.list_cards(ws)}
    kept_tokens.forget(ws, kept_tokens.known_sums(ws) - read - stored)


def _sum_of(dataset: object) -> str:
    return str(dataset.get("sha256") or "") if isinstance(dataset, dict) else ""


def _refuse_active(runs: list[RunPaths]) -> None:
    for run in runs:
        status = observe(run).status
        if status in ACTIVE:
            raise UserError(f"run {run.run_id}: it is {status} and reads this dataset; stop it first")


def _sweep(ws: Workspace, sums: set[str]) -> None:
    """Files that may hold rows or weights on their way out: rejects, exports, downloads, uploads, remains."""
    for folder in (ws.cache / "exports", *ws.uploads.glob("*/download-*")):
        shutil.rmtree(folder, ignore_errors=True)
    for base in (ws.datasets, ws.experiments, ws.adapters):
        for left in (*base.glob(".removed-*"), *base.glob(".adding-*")):
            shutil.rmtree(left, ignore_errors=True)
    for path in [path for path in ws.uploads.rglob("*") if path.is_file()]:
        if _sha256(path) in sums:
            path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""

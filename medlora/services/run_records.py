"""What is done with runs once they are there: compared, annotated, handed on, made again."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.dataset.store import find_source
from medlora.errors import UserError
from medlora.models.files import model_at_hand
from medlora.runs import queue, store
from medlora.runs.state import Point
from medlora.services import adapters
from medlora.services.run_reading import RunSummary, RunView, list_runs, view
from medlora.workspace import RunPaths, Workspace, make_private, write_atomic

MOST_COMPARED = 6
LONGEST_NOTE = 4_000
_RESULTS = (
    "status",
    "steps",
    "train_loss",
    "eval_loss",
    "tokens_per_second",
    "seconds",
    "peak_memory_gib",
)


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison. curves: by name, with at most 500 points each. results: None where unknown."""

    run_id: str
    adapter: str
    dataset: str
    note: str
    results: Mapping[str, Any]
    curves: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. differences: the settings that are not the same in all, with each run's value."""

    runs: tuple[ComparedRun, ...]
    differences: Mapping[str, tuple[Any, ...]]


def compare(ws: Workspace, run_ids: Sequence[str]) -> Comparison:
    """Two to six runs side by side.

    Raises: NotFoundError, UserError for too few, too many or the same run twice.
    """
    views = [view(ws, run_id) for run_id in run_ids]
    known = [item.run_id for item in views]
    if not 2 <= len(known) <= MOST_COMPARED or len(set(known)) != len(known):
        raise UserError(f"compare: name 2 to {MOST_COMPARED} different runs (got {len(set(known))})")
    settings = [_flatten(item.record.get("config") or {}) for item in views]
    for row, item in zip(settings, views, strict=True):
        row["dataset"] = _dataset(item).get("sha256", "")[:12]
    keys = sorted({key for row in settings for key in row})
    values = {key: tuple(row.get(key) for row in settings) for key in keys}
    differences = {key: row for key, row in values.items() if any(value != row[0] for value in row)}
    return Comparison(tuple(_compared(ws, item) for item in views), differences)


def find_runs(ws: Workspace, words: str) -> list[RunSummary]:
    """The runs that have every one of these words somewhere: name, dataset, model, state, id, note."""
    asked = words.lower().split()
    found = []
    for item in list_runs(ws):
        told = (item.run_id, item.adapter_name, item.dataset, item.base_model, item.status, item.started)
        text = " ".join((*told, _read_note(ws.run(item.run_id)))).lower()
        if all(word in text for word in asked):
            found.append(item)
    return found


def read_note(ws: Workspace, run_id: str) -> str:
    """What was noted about a run; empty if nothing was.

    Raises: NotFoundError.
    """
    return _read_note(store.find_run(ws, run_id))


def write_note(ws: Workspace, run_id: str, text: str) -> None:
    """Note something about a run; an empty text removes the note.

    Raises: NotFoundError, UserError for a text that is too long.
    """
    run = store.find_run(ws, run_id)
    if len(text) > LONGEST_NOTE:
        raise UserError(f"note: at most {LONGEST_NOTE} characters (got {len(text)}); shorten it")
    path = _note_path(run)
    if text.strip():
        write_atomic(path, text.strip() + "\n")
        path.chmod(0o600)
    else:
        path.unlink(missing_ok=True)


def export_record(ws: Workspace, run_id: str) -> Path:
    """A zip of a run's record (settings, events, log, note) in a private folder; no weights and no rows.

    Raises: NotFoundError.
    """
    run = store.find_run(ws, run_id)
    target = make_private(ws.cache / "exports" / secrets.token_hex(8)) / f"{run.run_id}.zip"
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (run.record, run.events, run.log, run.root / "setup.json", _note_path(run)):
            if path.is_file():
                archive.write(path, f"{run.run_id}/{path.name}")
    partial.replace(target)
    return target


def reproduce(ws: Workspace, run_id: str, *, adapter_name: str | None = None) -> str:
    """Queue the same run again: settings, data, and what the first start chose; the new run's id.

    On the same machine, on a CPU, the adapter comes out equal to the last bit.
    Raises: NotFoundError, UserError when the dataset is gone or has changed.
    """
    run = store.find_run(ws, run_id)
    record = store.load_record(run)
    dataset = dict(record["dataset"])
    dataset["path"] = str(_find_rows(ws, dataset))
    request = store.RunRequest(
        config=record["config"],
        dataset=dataset,
        adapter_name=adapter_name or str(record["adapter_name"]),
        origins=record.get("origins", {}),
        source_text=str(record.get("source_text", "")),
        source_name=str(record.get("source_name", "")),
        skip_bad_rows=bool(record.get("skip_bad_rows")),
        phi_acknowledged=bool(record.get("phi_acknowledged")),
        needs_network=not model_at_hand(ws, record["config"]["model"]["base_model_name"]),
        token=secrets.token_hex(8),
        device=str(record.get("device", "main")),
        parent=record.get("parent"),
    )
    again = queue.submit_run(ws, request, setup=run.root / "setup.json")
    queue.dispatch(ws)
    return again.run_id


def equals_original(ws: Workspace, run_id: str, again: str) -> bool | None:
    """Whether two runs published the same weights, to the last bit; None while one of them has none."""
    hashes = []
    for name in (run_id, again):
        adapter = view(ws, name).state.adapter
        hashes.append(adapters.weights_hash(ws.adapters / adapter) if adapter else "")
    return hashes[0] == hashes[1] if all(hashes) else None


def _find_rows(ws: Workspace, dataset: Mapping[str, Any]) -> Path:
    """The run's file, or the dataset of its name; the worker compares the hash."""
    path = Path(str(dataset.get("path", "")))
    if path.is_file():
        return path
    try:
        found, _ = find_source(ws, str(dataset.get("name", "")))
    except UserError as error:
        raise UserError(
            f"run: its dataset {dataset.get('name')!r} is not here any more; add the same file again"
        ) from error
    return found


def _compared(ws: Workspace, item: RunView) -> ComparedRun:
    state = item.state
    results = {key: getattr(state, key, None) for key in _RESULTS}
    results |= {"status": item.status, "steps": state.step}
    return ComparedRun(
        run_id=item.run_id,
        adapter=item.adapter_name,
        dataset=str(_dataset(item).get("name", "")),
        note=_read_note(ws.run(item.run_id)),
        results=results,
        curves={"loss": tuple(state.loss_points), "eval_loss": tuple(state.eval_points)},
    )


def _dataset(item: RunView) -> Mapping[str, Any]:
    found = item.record.get("dataset")
    return found if isinstance(found, Mapping) else {}


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flatten(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _note_path(run: RunPaths) -> Path:
    return run.root / "note.txt"


def _read_note(run: RunPaths) -> str:
    path = _note_path(run)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

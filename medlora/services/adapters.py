"""The adapters of this installation: what they are, and what may be done with them."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from medlora.errors import NotFoundError, UserError
from medlora.runs.process import ProcessMark, is_alive
from medlora.services.adapter_places import strip_places
from medlora.workspace import Workspace, make_private, write_json

WEIGHTS, SETTINGS, PROVENANCE = "adapter_model.safetensors", "adapter_config.json", "provenance.json"
NOTES, SIGN_OFF = "notes.json", "sign_off.json"
# What was published, who signed, and the report. Notes and figures may quote a dataset: they stay here.
_EXPORTED = (
    WEIGHTS, SETTINGS, PROVENANCE, SIGN_OFF, "medlora.json", "README.md", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json",
    "merges.txt", "chat_template.jinja", "report.html", "report.md",
)  # fmt: skip


@dataclass(frozen=True)
class AdapterCard:
    """What is known of one adapter. problem: why it cannot be used, empty if it can.

    Units: size_mib, seconds. status: completed, or stopped at a step.
    """

    name: str
    path: Path
    base_model: str
    base_revision: str | None = None
    created: str = ""
    dataset: str = ""
    rows_train: int | None = None
    steps: int | None = None
    train_loss: float | None = None
    eval_loss: float | None = None
    status: str = ""
    run_id: str = ""
    size_mib: float = 0.0
    rank: int | None = None
    target_modules: tuple[str, ...] = ()
    notes: str = ""
    imported: bool = False
    problem: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


_LICENCES = (
    ("starter", "Apache-2.0"),
    ("microsoft/phi-", "MIT"),
    ("huggingfacetb/smollm", "Apache-2.0"),
    ("mistralai/mistral-7b", "Apache-2.0"),
    ("qwen/qwen3", "Apache-2.0"),
    ("google/gemma-2", "Gemma Terms of Use"),
    ("google/gemma-3", "Gemma Terms of Use"),
    ("google/medgemma", "Health AI Developer Foundations terms"),
    ("meta-llama/", "Llama Community License"),
)


def base_licence(name: str) -> str:
    """The licence of a base model, where it is known for its whole family; else where to look."""
    known = (licence for prefix, licence in _LICENCES if name.lower().startswith(prefix))
    return next(known, "see the model's own page")


def list_adapters(ws: Workspace) -> list[AdapterCard]:
    """Every adapter, the newest first; a damaged one is listed with its problem."""
    folders = [path for path in ws.adapters.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(map(_read_card, folders), key=lambda card: (card.created, card.name), reverse=True)


def show(ws: Workspace, name: str) -> AdapterCard:
    """One adapter.

    Raises: NotFoundError.
    """
    folder = ws.adapter(name)
    if not folder.is_dir():
        known = (card.name for card in list_adapters(ws))
        raise NotFoundError.among("adapter: there is none of this name", name, known)
    return _read_card(folder)


def delete(ws: Workspace, name: str) -> None:
    """Remove an adapter for good: out of sight by a rename, then from the disk.

    Raises: NotFoundError; UserError while a chat answers with it.
    """
    card = show(ws, name)
    refuse_if_leased(ws, name)
    gone = card.path.with_name(f".removed-{name}-{secrets.token_hex(4)}")
    card.path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def export_zip(ws: Workspace, name: str) -> Path:
    """A zip of the adapter (weights, tokenizer, template, provenance, safety settings) in a private folder.

    Why only named files: whatever else lies in the folder was not published, or is for this place only.
    Raises: NotFoundError; UserError for one that cannot be used.
    """
    card = show(ws, name)
    if card.problem:
        raise UserError(f"adapter {name}: {card.problem}; it cannot be exported")
    target = make_private(ws.cache / "exports" / secrets.token_hex(8)) / f"{name}.zip"
    partial = target.with_suffix(".part")
    folder = collect_export(ws, name)
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{name}/{path.name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    partial.replace(target)
    return target


def collect_export(ws: Workspace, name: str) -> Path:
    """A fresh private folder with everything of an adapter that may leave; the caller removes it."""
    card = show(ws, name)
    folder = make_private(ws.cache / "exports" / secrets.token_hex(8))
    for file in _EXPORTED:
        path = card.path / file
        if path.is_file() and not path.is_symlink():
            shutil.copyfile(path, folder / file)
    strip_places(folder)
    safety = card.config.get("safety")
    if isinstance(safety, Mapping):
        write_json(folder / "safety_settings.json", dict(safety))
    return folder


@contextmanager
def hold_adapter(ws: Workspace, name: str) -> Iterator[AdapterCard]:
    """Keep the adapter from being deleted while it answers.

    Why a file and not a flag: the chat may run in another process than the one that deletes.
    Raises: NotFoundError; UserError for one that cannot be used.
    """
    card = show(ws, name)
    if card.problem:
        raise UserError(f"adapter {name}: {card.problem}; choose another one")
    mark = ProcessMark.own()
    lease = make_private(ws.locks / "adapters") / f"{name}.{mark.pid}.{secrets.token_hex(4)}.json"
    write_json(lease, {"pid": mark.pid, "start": mark.start})
    try:
        yield card
    finally:
        lease.unlink(missing_ok=True)


def refuse_if_leased(ws: Workspace, name: str) -> None:
    """Raises: UserError while a chat answers with the adapter."""
    if _is_leased(ws, name):
        raise UserError(f"adapter {name}: a chat is answering with it; stop the answer first")


def _is_leased(ws: Workspace, name: str) -> bool:
    folder = ws.locks / "adapters"
    for lease in folder.glob("*.json") if folder.is_dir() else ():
        if lease.name.rsplit(".", 3)[0] != name:
            continue
        try:
            mark = json.loads(lease.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if is_alive(mark.get("pid"), mark.get("start")):
            return True
        lease.unlink(missing_ok=True)
    return False


def weights_hash(folder: Path) -> str:
    """SHA-256 of an adapter's weights; empty without any."""
    path = folder / WEIGHTS
    try:
        stat = path.stat()
    except OSError:
        return ""
    return _hash_file(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(path: Path, size: int, mtime_ns: int) -> str:
    """Published weights never change in place, so size and time name the content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_card(folder: Path) -> AdapterCard:
    weights = folder / WEIGHTS
    settings, provenance = read_object(folder / SETTINGS), read_object(folder / PROVENANCE)
    problem = ""
    if not weights.is_file():
        problem = f"{WEIGHTS} is missing"
    elif not settings:
        problem = f"{SETTINGS} is missing or cannot be read"
    base = part(provenance, "base_model")
    dataset = part(provenance, "dataset")
    metrics = part(provenance, "metrics")
    modules = settings.get("target_modules")
    return AdapterCard(
        name=folder.name,
        path=folder,
        base_model=str(base.get("name") or settings.get("base_model_name_or_path") or ""),
        base_revision=base.get("revision"),
        created=str(provenance.get("created") or _modified(folder)),
        dataset=str(dataset.get("name") or ""),
        rows_train=dataset.get("rows_train"),
        steps=metrics.get("steps", provenance.get("steps")),
        train_loss=metrics.get("train_loss"),
        eval_loss=metrics.get("eval_loss"),
        status=str(provenance.get("status") or ""),
        run_id=str(provenance.get("run_id") or ""),
        size_mib=round(weights.stat().st_size / 2**20, 2) if weights.is_file() else 0.0,
        rank=settings.get("r"),
        target_modules=tuple(sorted(modules)) if isinstance(modules, list) else (),
        notes=str(read_object(folder / NOTES).get("text") or ""),
        imported=bool(provenance.get("imported")),
        problem=problem,
        provenance=provenance,
        config=part(provenance, "config"),
    )


def _modified(folder: Path) -> str:
    return datetime.fromtimestamp(folder.stat().st_mtime).astimezone().isoformat(timespec="seconds")


def part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within an object; empty where there is none."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

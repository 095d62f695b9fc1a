"""Runs on disk: `experiments/<run_id>/config.json` and what lies beside it."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from medlora.errors import NotFoundError, UserError
from medlora.runs.events import append_event
from medlora.workspace import RunPaths, Workspace, check_name, make_private, write_json

_PACKAGES = (
    "medlora",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "safetensors",
    "gguf",
)


@dataclass(frozen=True)
class RunRequest:
    """All that a run needs to know; the worker reads nothing but its record.

    dataset: name, path, sha256, rows, valid. needs_network: the model is not at hand yet.
    token: what the caller gives to make a start idempotent. parent: the adapter it begins with.
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    adapter_name: str
    origins: dict[str, str] = field(default_factory=dict)
    source_text: str = ""
    source_name: str = ""
    notices: tuple[str, ...] = ()
    skip_bad_rows: bool = False
    phi_acknowledged: bool = False
    needs_network: bool = False
    token: str | None = None
    device: str = "main"
    parent: dict[str, Any] | None = None

    def fingerprint(self) -> str:
        """What makes two requests the same one: all that would change the result."""
        content = (
            self.config, self.dataset, self.adapter_name, self.skip_bad_rows, self.device, self.parent,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def create_run(ws: Workspace, request: RunRequest) -> RunPaths:
    """A new run folder with its record and its first event; nothing is started."""
    check_name(request.adapter_name, "adapter")
    for _ in range(8):
        run = ws.run(_run_id(request.adapter_name))
        if not run.root.exists():
            break
    make_private(run.root)
    make_private(run.checkpoints)
    write_json(run.record, _record(ws, run.run_id, request))
    append_event(run, "created")
    return run


def _run_id(name: str) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{make_slug(name)[:36]}-{secrets.token_hex(2)}"


def make_slug(text: str) -> str:
    """Lower-case letters, digits and single dashes; never empty."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug[:56].strip("-") or "adapter"


def _record(ws: Workspace, run_id: str, request: RunRequest) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": request.config,
        "git_hash": read_git_hash(ws.checkout),
        "results": None,
        "run_id": run_id,
        "adapter_name": request.adapter_name,
        "dataset": request.dataset,
        "skip_bad_rows": request.skip_bad_rows,
        "phi_acknowledged": request.phi_acknowledged,
        "origins": request.origins,
        "notices": list(request.notices),
        "source_name": request.source_name,
        "source_text": request.source_text,
        "packages": read_package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": request.device,
        "parent": request.parent,
        "needs_network": request.needs_network,
        "token": request.token,
        "fingerprint": request.fingerprint(),
    }


def read_git_hash(checkout: Path) -> str | None:
    """The commit of the checkout, `-dirty` appended when tracked files differ; None without git."""
    if not (checkout / ".git").exists():
        return None
    head = _git(checkout, "rev-parse", "HEAD")
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def read_package_versions() -> dict[str, str]:
    """The versions of what a result depends on; a package that is not installed is left out."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def load_record(run: RunPaths) -> dict[str, Any]:
    """The run's record.

    Raises: NotFoundError when there is no such run, UserError when its record cannot be read.
    """
    try:
        record = json.loads(run.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(
            f"run: there is none with this id (got {run.run_id!r}); `runs list` names them"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{run.record}: the record cannot be read ({error}); remove the run") from error
    if not isinstance(record, dict):
        raise UserError(f"{run.record}: the record is not a JSON object; remove the run")
    return record


def write_results(run: RunPaths, results: dict[str, Any]) -> None:
    """Fill in the record's results, atomically."""
    write_json(run.record, {**load_record(run), "results": results})


def change_config(run: RunPaths, config: dict[str, Any]) -> None:
    """Go on with other settings from here; what they were is kept under `earlier_configs`."""
    record = load_record(run)
    earlier = [*record.get("earlier_configs", []), record["config"]]
    write_json(run.record, {**record, "config": config, "earlier_configs": earlier})


def find_run(ws: Workspace, run_id: str) -> RunPaths:
    """The run of that id, or of the only one whose id starts so.

    Raises: NotFoundError.
    """
    run = ws.run(run_id)
    if run.record.exists():
        return run
    matches = [other for other in list_runs(ws) if other.run_id.startswith(run_id)]
    if len(matches) != 1:
        raise NotFoundError(f"run: there is none with this id (got {run_id!r}); `runs list` names them")
    return matches[0]


def list_runs(ws: Workspace) -> list[RunPaths]:
    """Every run, newest first."""
    folders = [
        folder
        for folder in ws.experiments.iterdir()
        if not folder.name.startswith(".") and (folder / "config.json").is_file()
    ]
    return [RunPaths(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def remove_run(run: RunPaths) -> None:
    """Delete the run's folder: first out of sight by a rename, then for good."""
    gone = run.root.with_name(f".removed-{run.run_id}-{time.time_ns()}")
    run.root.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_checkpoints(run: RunPaths) -> None:
    """Delete what a discarded run would have kept."""
    for folder in (run.checkpoints, run.staging):
        shutil.rmtree(folder, ignore_errors=True)


def default_adapter_name(dataset: str, base_model: str) -> str:
    """A readable name from what was learned and by whom: `clinic-notes-starter`."""
    data = make_slug(dataset)[:32].strip("-")
    return f"{data}-{make_slug(base_model.rsplit('/', 1)[-1])[:28]}".strip("-")


def free_adapter_name(ws: Workspace, name: str) -> str:
    """The name itself, or with -2, -3 … when there is such an adapter already."""
    check_name(name, "adapter")
    candidate, number = name, 2
    while ws.adapter(candidate).exists():
        suffix = f"-{number}"
        candidate = f"{name[: 64 - len(suffix)].rstrip('.-_')}{suffix}"
        number += 1
    return candidate

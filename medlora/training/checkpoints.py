"""Checkpoints that are complete or ignored.

Why: a process can be killed, or the disk can fill up, in the middle of a save, and transformers would
resume from what is left, sometimes without an error and with different weights. A manifest with the
SHA-256 of every file is written last, and only a checkpoint that verifies is ever resumed from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from medlora.errors import UserError
from medlora.workspace import write_json

MANIFEST = "manifest.json"
REQUIRED = frozenset(
    {
        "adapter_model.safetensors",
        "adapter_config.json",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
    }
)
_FOLDER = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint folder that verified."""

    step: int
    path: Path


def seal(path: Path, step: int) -> None:
    """Write the manifest of a checkpoint whose files are all there: from now on it counts.

    Why: every file is flushed to the disk before the manifest names it, so a manifest that is there
    after a power loss tells the truth.
    """
    digests = {file.name: _digest(file, flush=True) for file in _files(path)}
    write_json(path / MANIFEST, {"step": step, "files": digests})
    _flush_folder(path)


def problem_of(path: Path) -> str | None:
    """Why this checkpoint cannot be resumed from, in words; None if it verifies."""
    match = _FOLDER.fullmatch(path.name)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        step, digests = manifest["step"], dict(manifest["files"])
    except FileNotFoundError:
        return "its manifest is missing, so saving it never finished"
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    if match is None or step != int(match[1]):
        return "its manifest belongs to another step"
    # With several processes each has a state of randomness of its own.
    several = {"rng_state.pth"} if "rng_state_0.pth" in digests else set()
    absent = sorted(REQUIRED - digests.keys() - several)
    if absent:
        return f"{absent[0]} was never saved"
    for name, digest in sorted(digests.items()):
        try:
            if _digest(path / name) != digest:
                return f"{name} is damaged"
        except OSError:
            return f"{name} is missing"
    return None


def newest_valid(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None."""
    for step, path in _numbered(folder):
        if problem_of(path) is None:
            return Checkpoint(step, path)
    return None


def checkpoint_to_resume(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from and a notice for each newer one that was passed over.

    A run without any checkpoint starts from the beginning (None).
    Raises: UserError when there are checkpoints and none of them verifies.
    """
    notices: list[str] = []
    for step, path in _numbered(folder):
        problem = problem_of(path)
        if problem is None:
            return Checkpoint(step, path), notices
        notices.append(f"The checkpoint of step {step} was passed over: {problem}.")
    finished = [path for _, path in _numbered(folder) if (path / MANIFEST).exists()]
    if finished:
        raise UserError(
            f"{finished[0].name}: it cannot be resumed from: {problem_of(finished[0])}; "
            "put the file back, or start the run again"
        )
    return None, notices


def remove_broken(folder: Path) -> None:
    """Delete the checkpoints that do not verify: their space is needed and their names will come again."""
    for _, path in _numbered(folder):
        if problem_of(path) is not None:
            shutil.rmtree(path, ignore_errors=True)


def keep_newest(folder: Path, *also: Path) -> None:
    """Delete all checkpoints but the newest that verifies and those named.

    Why more than the newest: the best one is what a run that goes on may still publish.
    """
    newest = newest_valid(folder)
    for _, path in _numbered(folder):
        if newest is not None and path not in (newest.path, *also):
            shutil.rmtree(path, ignore_errors=True)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    found = [(int(m[1]), path) for path in folder.glob("checkpoint-*") if (m := _FOLDER.fullmatch(path.name))]
    return sorted(found, reverse=True)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file() and file.name != MANIFEST)


def _digest(path: Path, flush: bool = False) -> str:
    digest = hashlib.sha256()
    with path.open("rb+" if flush else "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        if flush:
            os.fsync(file.fileno())
    return digest.hexdigest()


def _flush_folder(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

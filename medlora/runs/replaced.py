"""An adapter gets its place in the library by a rename, also when the library lies on another disk.

A run that goes on publishes its adapter again, in the place of its earlier one. The old folder steps
aside by a rename, the new one takes its place by another, then the old one is deleted. Whoever looks between
the two finds the old one put back: so there is always a whole adapter.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

from medlora.workspace import RunPaths, Workspace

_INCOMING = ".incoming-"


def own_adapter(ws: Workspace, run: RunPaths, name: str) -> bool:
    """Whether there is an adapter of that name that this very run published."""
    try:
        facts = json.loads((ws.adapter(name) / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("run_id") == run.run_id


def bring_near(ws: Workspace, run: RunPaths) -> Path:
    """Move the run's staged adapter into the library's folder, out of sight; where it lies now.

    Why: a rename works within one disk only, and `experiments` and `adapters` may lie on two of them. What
    is copied is flushed, so that after a power loss no folder with empty files gets a name.
    """
    near = ws.adapters / f"{_INCOMING}{run.run_id}"
    shutil.rmtree(near, ignore_errors=True)
    try:
        return run.staging.rename(near)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    shutil.copytree(run.staging, near)
    flush_files(near)
    shutil.rmtree(run.staging)
    return near


def flush_files(folder: Path) -> None:
    """Have the disk keep what lies in the folder."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def replace_adapter(ws: Workspace, run: RunPaths, incoming: Path, name: str) -> None:
    """Put the run's new adapter where its earlier one stands.

    Raises: OSError when a folder cannot be moved, the old adapter in its place (on Windows, while a chat
    reads its files).
    """
    target = ws.adapter(name)
    aside = ws.adapters / f"{_prefix(run)}{name}"
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    try:
        incoming.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def put_back(ws: Workspace, run: RunPaths) -> None:
    """Undo a replacement that its process did not live to finish; nothing happens where there is none."""
    shutil.rmtree(ws.adapters / f"{_INCOMING}{run.run_id}", ignore_errors=True)
    for aside in ws.adapters.glob(f"{_prefix(run)}*"):
        target = ws.adapter(aside.name.removeprefix(_prefix(run)))
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)


def _prefix(run: RunPaths) -> str:
    return f".replaced-{run.run_id}-"

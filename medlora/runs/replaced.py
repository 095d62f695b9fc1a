"""A run that goes on publishes its adapter again, in the place of its earlier one.

The old folder steps aside by a rename, the new one takes its place by another, then the old one is
deleted. Whoever looks between the two finds the old one put back: so there is always a whole adapter.
"""

from __future__ import annotations

import json
import shutil

from medlora.workspace import RunPaths, Workspace


def own_adapter(ws: Workspace, run: RunPaths, name: str) -> bool:
    """Whether there is an adapter of that name that this very run published."""
    try:
        facts = json.loads((ws.adapter(name) / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("run_id") == run.run_id


def replace_adapter(ws: Workspace, run: RunPaths, name: str) -> None:
    """Put the run's staged adapter where its earlier one stands.

    Raises: OSError when a folder cannot be moved, the old adapter in its place (on Windows, while a chat
    reads its files).
    """
    target = ws.adapter(name)
    aside = ws.adapters / f"{_prefix(run)}{name}"
    shutil.rmtree(aside, ignore_errors=True)
    target.rename(aside)
    try:
        run.staging.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def put_back(ws: Workspace, run: RunPaths) -> None:
    """Undo a replacement that its process did not live to finish; nothing happens where there is none."""
    for aside in ws.adapters.glob(f"{_prefix(run)}*"):
        target = ws.adapter(aside.name.removeprefix(_prefix(run)))
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)


def _prefix(run: RunPaths) -> str:
    return f".replaced-{run.run_id}-"

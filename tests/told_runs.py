"""Runs that are told, not trained: records and events as a worker leaves them, for what only reads them."""

from __future__ import annotations

from typing import Any

from medlora.runs.events import append_event
from medlora.runs.store import RunRequest, create_run
from medlora.workspace import RunPaths, Workspace


def tell_run(ws: Workspace, name: str, steps: int = 30, **training: Any) -> RunPaths:
    """A completed run whose loss falls, the faster the higher its learning rate."""
    rate = training.get("learning_rate", 1e-4)
    config = {"model": {"base_model_name": "starter"}, "training": {"learning_rate": rate, **training}}
    dataset = {"name": "clinic-notes", "sha256": "0" * 64, "path": "gone.jsonl"}
    run = create_run(ws, RunRequest(config=config, dataset=dataset, adapter_name=name))
    append_event(run, "plan", total_steps=steps)
    for step in range(1, steps + 1):
        loss = round(1.2 + 2.2 * (1 - min(rate * 400, 0.2)) ** step, 4)
        append_event(run, "step", step=step, total_steps=steps, loss=loss, learning_rate=rate)
        if step % 10 == 0:
            append_event(run, "eval", step=step, eval_loss=round(loss + 0.1, 4))
    append_event(run, "published", adapter=name, step=steps)
    append_event(run, "ended", status="completed", steps=steps, train_loss=1.9, seconds=125.0)
    return run

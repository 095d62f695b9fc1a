"""Runs as a screen shows them: one line each, or one whole. Nothing is changed here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from medlora.errors import UserError
from medlora.runs import queue, store
from medlora.runs.live import observe
from medlora.runs.state import Point, RunState, Status
from medlora.workspace import RunPaths, Workspace

_MOST_POINTS = 500
_LOG_BYTES = 16_384
_LOG_LINES = 60
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs. adapter: the published one; adapter_name: the one wished for, before."""

    run_id: str
    adapter_name: str
    status: Status
    started: str
    dataset: str
    base_model: str
    step: int
    total_steps: int | None
    loss: float | None
    eval_loss: float | None
    eta_s: float | None
    phase: str
    adapter: str | None
    error: str | None


@dataclass(frozen=True)
class RunView:
    """Everything that a screen shows of a run.

    state: with at most 500 points a curve. fingerprint: changes exactly when the view should be redrawn.
    ahead: how many runs come before a queued one. movable: whether one of them waits too.
    log_tail: plain text, without control characters.
    """

    run_id: str
    adapter_name: str
    status: Status
    state: RunState
    log_tail: str
    fingerprint: str
    ahead: int
    movable: bool
    eta_s: float | None
    record: dict[str, Any]


def list_runs(ws: Workspace) -> list[RunSummary]:
    """Every run, newest first; one whose record cannot be read is left out."""
    summaries = []
    for run in store.list_runs(ws):
        try:
            summaries.append(_summarise(run, store.load_record(run), observe(run)))
        except UserError:
            continue
    return summaries


def _summarise(run: RunPaths, record: dict[str, Any], state: RunState) -> RunSummary:
    return RunSummary(
        run_id=run.run_id,
        adapter_name=state.adapter or str(record.get("adapter_name", "")),
        status=state.status,
        started=_local_time(record.get("timestamp")),
        dataset=str(record.get("dataset", {}).get("name", "")),
        base_model=str(record.get("config", {}).get("model", {}).get("base_model_name", "")),
        step=state.step,
        total_steps=state.total_steps,
        loss=state.loss,
        eval_loss=state.eval_loss,
        eta_s=state.eta_s,
        phase=state.phase_detail or state.phase,
        adapter=state.adapter,
        error=state.reason if state.status == "failed" else None,
    )


def _local_time(timestamp: object) -> str:
    try:
        return datetime.fromisoformat(str(timestamp)).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def view(ws: Workspace, run_id: str) -> RunView:
    """A run as it is now.

    Raises: NotFoundError.
    """
    run = store.find_run(ws, run_id)
    told = run.events.stat().st_size if run.events.exists() else 0
    record, state = store.load_record(run), observe(run)
    waiting = [other.run_id for other, _ in queue.waiting_runs(ws)] if state.status == "queued" else []
    going = queue.find_active(ws) if waiting else None
    ahead = waiting.index(run.run_id) if run.run_id in waiting else 0
    movable = ahead > 0
    ahead += going is not None and going.run_id not in waiting
    log_tail = read_log_tail(run)
    return RunView(
        run_id=run.run_id,
        adapter_name=state.adapter or str(record.get("adapter_name", "")),
        status=state.status,
        state=replace(
            state,
            loss_points=thin_points(state.loss_points),
            eval_points=thin_points(state.eval_points),
            rate_points=thin_points(state.rate_points),
        ),
        log_tail=log_tail,
        fingerprint=f"{state.status} {told} {ahead} {movable} {hash(log_tail)}",
        ahead=ahead,
        movable=movable,
        eta_s=state.eta_s if state.status == "running" else None,
        record=record,
    )


def thin_points(points: list[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most that many points, evenly chosen; the first and the last are always among them."""
    if len(points) <= most:
        return list(points)
    stride = (len(points) - 1) / (most - 1)
    return [points[round(number * stride)] for number in range(most)]


def read_log_tail(run: RunPaths) -> str:
    """The last lines of the log, as plain text."""
    try:
        with run.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    lines = [line.rsplit("\r", 1)[-1] for line in text.split("\n")]
    plain = ("".join(c for c in line if c == "\t" or c.isprintable()) for line in lines[-_LOG_LINES:])
    return "\n".join(plain).strip("\n")

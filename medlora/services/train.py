"""The Train tab's verbs: look before starting, start, watch, stop, resume, remove.

Nothing here waits for a run: each verb writes to disk and returns, and `view` reads the disk again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.config.resolve import Resolved
from medlora.dataset import store
from medlora.dataset.check import CheckReport
from medlora.errors import ConfigError, UserError
from medlora.models.files import model_at_hand
from medlora.runs import stop as stopping
from medlora.runs.live import observe
from medlora.runs.queue import dispatch, find_active, requeue_run, submit_run, waiting_runs
from medlora.runs.state import ENDED, Point, RunState, Status
from medlora.runs.store import (
    RunRequest,
    default_adapter_name,
    find_run,
    load_record,
    remove_run,
)
from medlora.runs.store import list_runs as list_run_paths
from medlora.runs.watchdog import watch_runs
from medlora.services import configure
from medlora.services.preflight import Check, inspect_start
from medlora.workspace import RunPaths, Workspace

__all__ = ["Check", "RunItem", "RunView", "StartOptions"]

MOST_POINTS = 500
_LOG_BYTES = 16_384
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\S\n]*[\x00-\x08\x0b-\x1f\x7f\x9b\u2028\u2029]")


@dataclass(frozen=True)
class StartOptions:
    """What the user said beside config and dataset.

    token: the same for two presses that mean one start. skip_bad_rows and phi_acknowledged: consent given
    here rather than with the dataset.
    """

    adapter_name: str | None = None
    sets: Sequence[str] = ()
    source_name: str = "config.yaml"
    env: Mapping[str, str] | None = None
    skip_bad_rows: bool = False
    phi_acknowledged: bool = False
    token: str | None = None


@dataclass(frozen=True)
class RunItem:
    """One run in the list."""

    run_id: str
    adapter_name: str
    status: Status
    started: str
    step: int
    total_steps: int | None
    loss: float | None
    eval_loss: float | None
    eta_s: float | None
    adapter: str | None
    dataset: str
    phase: str = ""


@dataclass(frozen=True)
class RunView:
    """Everything there is to show of one run; `fingerprint` changes whenever any of it does.

    state: its curves hold at most 500 points each. ahead: runs that come before it in the queue.
    """

    run_id: str
    adapter_name: str
    state: RunState
    record: dict[str, Any]
    log_tail: str
    ahead: int
    fingerprint: str

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def error(self) -> str | None:
        """Why it failed, in words."""
        return self.state.reason if self.state.status == "failed" else None


def preflight(
    ws: Workspace, text: str, dataset: str, *, sets: Sequence[str] = (), name: str = "config.yaml"
) -> list[Check]:
    """What would keep a run from starting or should be known before, in the order of a checklist."""
    examined = configure.examine(ws, text, dataset, name=name, sets=sets)
    return inspect_start(ws, examined, dataset).checks


def start(
    ws: Workspace,
    text: str,
    dataset: str,
    *,
    adapter_name: str | None = None,
    options: StartOptions | None = None,
) -> str:
    """Queue a run and start it if the machine is free; its id. Two presses give one run.

    Raises: ConfigError with every problem of the configuration; UserError for anything else that the
    preflight calls a problem.
    """
    chosen = options or StartOptions()
    examined = configure.examine(ws, text, dataset, name=chosen.source_name, sets=chosen.sets)
    if examined.resolved is None or examined.problems:
        raise ConfigError(examined.problems)
    found = inspect_start(
        ws,
        examined,
        dataset,
        skip_bad_rows=chosen.skip_bad_rows,
        phi_acknowledged=chosen.phi_acknowledged,
    )
    wrong = [check for check in found.checks if check.status == "problem"]
    if wrong or found.report is None:
        raise UserError("\n".join(f"{check.name}: {check.message}" for check in wrong))
    request = _request(ws, examined.resolved, dataset, found.report, (adapter_name, chosen))
    run = submit_run(ws, request)
    dispatch(ws)
    return run.run_id


def _request(
    ws: Workspace,
    resolved: Resolved,
    dataset: str,
    report: CheckReport,
    asked: tuple[str | None, StartOptions],
) -> RunRequest:
    name, options = asked
    path, card = store.find_source(ws, dataset)
    title = card.name if card else path.stem
    model = resolved.config.model.base_model_name
    wanted = (name or options.adapter_name or "").strip()
    return RunRequest(
        config=resolved.config.model_dump(mode="json"),
        dataset={
            "name": title,
            "path": str(path),
            "sha256": report.sha256,
            "rows": report.rows,
            "valid": report.valid,
        },
        adapter_name=wanted or default_adapter_name(title, model),
        origins=dict(resolved.origins),
        source_text=resolved.source_text,
        source_name=resolved.source_name,
        notices=tuple(str(notice) for notice in resolved.notices),
        skip_bad_rows=options.skip_bad_rows or bool(card and card.accepted_rejects),
        phi_acknowledged=options.phi_acknowledged or bool(card and card.phi_settled),
        needs_network=not model_at_hand(ws, model),
        token=options.token,
    )


def stop(ws: Workspace, run_id: str) -> None:
    """Ask a run to stop and keep what it learned; pressing again changes nothing.

    Raises: NotFoundError.
    """
    stopping.request_stop(ws, find_run(ws, run_id))


def discard(ws: Workspace, run_id: str) -> None:
    """Ask a run to stop and keep nothing.

    Raises: NotFoundError; UserError when it has ended.
    """
    stopping.request_stop(ws, find_run(ws, run_id), discard=True)


def resume(ws: Workspace, run_id: str) -> str:
    """Go on from the newest complete checkpoint, now or when the machine is free; the run's id.

    Raises: NotFoundError; UserError when there is nothing to resume.
    """
    run = find_run(ws, run_id)
    requeue_run(ws, run)
    dispatch(ws)
    return run.run_id


def remove(ws: Workspace, run_id: str) -> None:
    """Delete a run's record, log and checkpoints; the adapter it published stays.

    Raises: NotFoundError; UserError while it is going.
    """
    run = find_run(ws, run_id)
    status = observe(run).status
    if status not in ENDED and status != "lost":
        raise UserError(f"run {run.run_id}: it is {status}; stop it first")
    remove_run(run)


def list_runs(ws: Workspace) -> list[RunItem]:
    """Every run, newest first; one whose record cannot be read is left out."""
    items = []
    for run in list_run_paths(ws):
        try:
            items.append(_item(run))
        except UserError:
            continue
    return items


def _item(run: RunPaths) -> RunItem:
    record, state = load_record(run), observe(run)
    return RunItem(
        run_id=run.run_id,
        adapter_name=state.adapter or str(record.get("adapter_name", run.run_id)),
        status=state.status,
        started=str(record.get("timestamp", ""))[:16].replace("T", " "),
        step=state.step,
        total_steps=state.total_steps,
        loss=state.loss,
        eval_loss=state.eval_loss,
        eta_s=state.eta_s,
        adapter=state.adapter,
        dataset=str((record.get("dataset") or {}).get("name", "")),
        phase=state.phase,
    )


def view(ws: Workspace, run_id: str) -> RunView:
    """One run as the disk tells it now.

    Raises: NotFoundError.
    """
    run = find_run(ws, run_id)
    record, state = load_record(run), observe(run)
    waiting = [other.run_id for other, _ in waiting_runs(ws)] if state.status == "queued" else []
    ahead = waiting.index(run.run_id) if run.run_id in waiting else 0
    active = find_active(ws) if state.status == "queued" else None
    if active is not None and active.run_id not in waiting:
        ahead += 1
    tail = read_log_tail(run.log)
    mark = (run.run_id, state.status, state.last_event_at, state.phase, state.phase_detail, ahead, len(tail))
    return RunView(
        run_id=run.run_id,
        adapter_name=state.adapter or str(record.get("adapter_name", run.run_id)),
        state=_thin(state),
        record=record,
        log_tail=tail,
        ahead=ahead,
        fingerprint=repr((*mark, hash(tail))),
    )


def _thin(state: RunState) -> RunState:
    """A copy whose curves have at most 500 points, the first and the last among them."""
    copy = RunState(**{name: getattr(state, name) for name in state.__dataclass_fields__})
    for name in ("loss_points", "eval_points", "rate_points"):
        setattr(copy, name, thin_points(getattr(state, name)))
    return copy


def thin_points(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many of the points, evenly chosen, first and last kept."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def read_log_tail(path: Path) -> str:
    """The last lines of a log as plain text: no escape sequences, no control characters."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            content = file.read()
    except FileNotFoundError:
        return ""
    text = content.decode("utf-8", "replace")
    if size > _LOG_BYTES:
        text = text.split("\n", 1)[-1]
    return _CONTROL.sub("", text)


def supervise(ws: Workspace) -> None:
    """One look after the runs: end what does not stop, start what is next. Called every two seconds."""
    watch_runs(ws)
    dispatch(ws)

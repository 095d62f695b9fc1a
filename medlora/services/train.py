"""The Train tab's verbs: look before you leap, start, watch, stop, resume. All state is on disk."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from medlora.errors import ConfigError, UserError
from medlora.models.files import model_at_hand
from medlora.runs import queue, watchdog
from medlora.runs.live import observe
from medlora.runs.state import ACTIVE, Point, RunState, Status
from medlora.runs.stop import request_stop
from medlora.runs.store import (
    RunRequest,
    default_adapter_name,
    find_run,
    load_record,
    remove_run,
)
from medlora.runs.store import list_runs as list_run_folders
from medlora.services import configure
from medlora.services.configure import Examination
from medlora.services.preflight import Check, Consent, Source, find_rows, list_checks
from medlora.workspace import RunPaths, Workspace, check_name

__all__ = ["Check", "Consent", "RunSummary", "RunView", "StartOptions"]

_MOST_POINTS = 500
_LOG_BYTES = 16_384
_LOG_LINES = 60


@dataclass(frozen=True)
class StartOptions:
    """What may be said beside a configuration and a dataset.

    sets: `key=value` above everything else. token: makes repeated starts with it one run.
    """

    adapter_name: str | None = None
    consent: Consent = field(default_factory=Consent)
    sets: tuple[str, ...] = ()
    source_name: str = "config.yaml"
    token: str | None = None


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
    adapter: str | None
    error: str | None


@dataclass(frozen=True)
class RunView:
    """Everything that a screen shows of a run.

    state: with at most 500 points a curve. fingerprint: changes exactly when the view should be redrawn.
    ahead: how many runs come before a queued one. log_tail: plain text, without control characters.
    """

    run_id: str
    adapter_name: str
    status: Status
    state: RunState
    log_tail: str
    fingerprint: str
    ahead: int
    elapsed_s: float | None
    eta_s: float | None
    record: dict[str, Any]


def preflight(
    ws: Workspace, config: str | Examination, dataset: str | Path, options: StartOptions | None = None
) -> list[Check]:
    """What speaks for or against starting; nothing is changed."""
    options = options or StartOptions()
    examined = _examine(ws, config, dataset, options)
    return list_checks(ws, examined, _find_rows(ws, examined, dataset), options.consent)


def start(
    ws: Workspace,
    config: str | Examination,
    dataset: str | Path,
    options: StartOptions | None = None,
    *,
    adapter_name: str | None = None,
) -> str:
    """Queue a run and start it if the device is free; its id. Two clicks are one run.

    Raises: ConfigError for a configuration with problems, UserError with everything else that hinders.
    """
    options = options or StartOptions()
    wished = adapter_name or options.adapter_name
    if wished:
        check_name(wished, "adapter")
    examined = _examine(ws, config, dataset, options)
    if examined.problems or examined.resolved is None:
        raise ConfigError(examined.problems)
    source = find_rows(ws, dataset, examined.resolved.config)
    hindrances = [
        check.message
        for check in list_checks(ws, examined, source, options.consent)
        if check.status == "problem"
    ]
    if hindrances:
        raise UserError("\n".join(hindrances))
    run = queue.submit_run(ws, _make_request(ws, examined, source, replace(options, adapter_name=wished)))
    queue.dispatch(ws)
    return run.run_id


def _examine(
    ws: Workspace, config: str | Examination, dataset: str | Path, options: StartOptions
) -> Examination:
    if isinstance(config, Examination):
        return config
    return configure.examine(ws, config, str(dataset), name=options.source_name, sets=options.sets)


def _find_rows(ws: Workspace, examined: Examination, dataset: str | Path) -> Source | UserError | None:
    if examined.resolved is None:
        return None
    try:
        return find_rows(ws, dataset, examined.resolved.config)
    except UserError as error:
        return error


def _make_request(ws: Workspace, examined: Examination, source: Source, options: StartOptions) -> RunRequest:
    resolved = examined.resolved
    assert resolved is not None
    model = resolved.config.model.base_model_name
    return RunRequest(
        config=resolved.config.model_dump(mode="json"),
        dataset=source.record,
        adapter_name=options.adapter_name or default_adapter_name(source.name, model),
        origins=resolved.origins,
        source_text=resolved.source_text,
        source_name=resolved.source_name,
        notices=tuple(str(notice) for notice in examined.notices),
        skip_bad_rows=source.errors_accepted or options.consent.skip_bad_rows,
        phi_acknowledged=source.phi_settled or options.consent.phi_acknowledged,
        needs_network=not model_at_hand(ws, model),
        token=options.token,
    )


def stop(ws: Workspace, run_id: str) -> None:
    """Stop and keep what was learned; pressing again changes nothing.

    Raises: NotFoundError.
    """
    request_stop(ws, find_run(ws, run_id))


def discard(ws: Workspace, run_id: str) -> None:
    """Stop and keep nothing.

    Raises: NotFoundError, UserError when the run has ended.
    """
    request_stop(ws, find_run(ws, run_id), discard=True)


def resume(ws: Workspace, run_id: str) -> None:
    """Queue a run again; its worker goes on from the newest checkpoint that verifies.

    Raises: NotFoundError, UserError when it is going, completed or discarded.
    """
    queue.requeue_run(ws, find_run(ws, run_id))
    queue.dispatch(ws)


def remove(ws: Workspace, run_id: str) -> None:
    """Delete a run's folder with its checkpoints and log; its adapter stays.

    Raises: NotFoundError, UserError while it is queued or going.
    """
    run = find_run(ws, run_id)
    with queue.lock_queue(ws):
        status = observe(run).status
        if status in ACTIVE:
            raise UserError(f"run {run.run_id}: it is {status}; stop it first")
        remove_run(run)


def supervise(ws: Workspace) -> None:
    """Start what waits and see to what does not stop; called every few seconds by whoever is there."""
    watchdog.watch_runs(ws)
    queue.dispatch(ws)


def find_active(ws: Workspace) -> str | None:
    """The run that is going, else the first one that waits."""
    run = queue.find_active(ws)
    return run.run_id if run else None


def list_runs(ws: Workspace) -> list[RunSummary]:
    """Every run, newest first; one whose record cannot be read is left out."""
    summaries = []
    for run in list_run_folders(ws):
        try:
            summaries.append(_summarise(run, load_record(run), observe(run)))
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
    run = find_run(ws, run_id)
    record, state = load_record(run), observe(run)
    waiting = [other.run_id for other, _ in queue.waiting_runs(ws)] if state.status == "queued" else []
    going = queue.find_active(ws) if waiting else None
    ahead = waiting.index(run.run_id) if run.run_id in waiting else 0
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
        fingerprint=f"{state.status} {state.last_event_at} {ahead} {hash(log_tail)}",
        ahead=ahead,
        elapsed_s=_elapsed(state),
        eta_s=state.eta_s if state.status == "running" else None,
        record=record,
    )


def _elapsed(state: RunState) -> float | None:
    """Since the newest start; of an ended run what its worker counted."""
    if state.seconds is not None:
        return state.seconds
    if state.started_at is None:
        return None
    until = state.ended_at or (state.last_event_at if state.status == "lost" else time.time())
    return max(0.0, (until or state.started_at) - state.started_at)


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
    lines = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    plain = ("".join(c for c in line if c == "\t" or c.isprintable()) for line in lines[-_LOG_LINES:])
    return "\n".join(plain).strip("\n")

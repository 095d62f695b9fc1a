"""One owner per device: runs wait on disk, and whoever looks starts the next one.

The queue is not a file of its own: a run waits if its events say so, in the order of their tickets. So
there is nothing to repair after a crash, and a run that was queued when the app died starts when any
process dispatches again. A file lock makes looking and starting one step.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medlora.errors import UserError
from medlora.runs.devices import MAIN, gpu_environment, in_each_others_way
from medlora.runs.events import append_event, last_event
from medlora.runs.live import is_over, observe
from medlora.runs.process import Launch, ProcessMark, is_alive, spawn_worker
from medlora.runs.state import RunState
from medlora.runs.store import RunRequest, change_config, create_run, list_runs, load_record
from medlora.runs.tracker import KEYS
from medlora.workspace import RunPaths, Workspace, make_private

_LOCK_WAIT_S = 30.0
_SAME_START_S = 10.0
_LEAVING_S = 120.0


@contextmanager
def lock_queue(ws: Workspace) -> Iterator[None]:
    """Hold the queue; not to be taken twice by one thread.

    Raises: UserError when another process holds it for half a minute, which only a stopped one would.
    """
    lock = FileLock(make_private(ws.locks) / "queue.lock", timeout=_LOCK_WAIT_S)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"queue: another medlora process holds {lock.lock_file} and does not let go; end it and try again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def submit_run(ws: Workspace, request: RunRequest, setup: Path | None = None) -> RunPaths:
    """A new run at the end of the queue, or the one that the same press of Start already made.

    The same press: the same token; without one, the same content within ten seconds.
    setup: the file of an earlier run with what its first start chose, to be chosen again.
    """
    with lock_queue(ws):
        known = _find_same(ws, request)
        if known is not None:
            return known
        run = create_run(ws, request)
        if setup is not None and setup.is_file():
            shutil.copyfile(setup, run.root / "setup.json")
        _enqueue(ws, run)
        return run


def requeue_run(ws: Workspace, run: RunPaths, config: dict[str, Any] | None = None) -> None:
    """Put a run that stopped, failed or was lost back at the end of the queue.

    config: what it shall go on with; a completed run goes on only with one, for it needs more steps.
    Raises: UserError when it is not over, or completed, or was discarded.
    """
    with lock_queue(ws):
        state = observe(run)
        if state.status in ("queued", "running", "stopping"):
            raise UserError(f"run {run.run_id}: it is {state.status} already")
        if state.status == "completed" and config is None:
            raise UserError(
                f"run {run.run_id}: it is completed; to train it longer say how long, "
                "such as --set training.num_train_epochs=5"
            )
        if state.discard:
            raise UserError(f"run {run.run_id}: it was discarded with its checkpoints; start a new run")
        if config is not None:
            change_config(run, config)
        _enqueue(ws, run)


def _enqueue(ws: Workspace, run: RunPaths) -> None:
    run.stop_file.unlink(missing_ok=True)
    tickets = [state.ticket or 0 for _, state in unfinished_runs(ws)]
    append_event(run, "queued", ticket=int(max(tickets, default=0)) + 1)


def move_up(ws: Workspace, run: RunPaths) -> None:
    """Let a waiting run change places with the one before it; the first one stays where it is.

    Why a ticket between those of two others: one event is written whole or not at all.
    Raises: UserError when it does not wait.
    """
    with lock_queue(ws):
        waiting = waiting_runs(ws)
        place = next((at for at, (other, _) in enumerate(waiting) if other == run), None)
        if place is None:
            raise UserError(f"run {run.run_id}: it does not wait in the queue ({observe(run).status})")
        if place == 0:
            return
        before = waiting[place - 1][1].ticket or 0
        first = waiting[place - 2][1].ticket or 0 if place > 1 else before - 2
        append_event(run, "moved", ticket=(first + before) / 2)


def _find_same(ws: Workspace, request: RunRequest) -> RunPaths | None:
    wanted = request.fingerprint()
    now = time.time()
    for run in list_runs(ws)[:20]:
        record = load_record(run)
        if request.token is not None:
            if record.get("token") == request.token:
                return run
            continue
        age = now - datetime.fromisoformat(record["timestamp"]).timestamp()
        if age <= _SAME_START_S and record.get("fingerprint") == wanted and not is_over(run):
            return run
    return None


def unfinished_runs(ws: Workspace) -> list[tuple[RunPaths, RunState]]:
    """Runs that have not ended, lost ones among them, with their states; newest first."""
    found = [(run, observe(run)) for run in list_runs(ws) if not is_over(run)]
    return [(run, state) for run, state in found if not state.ended]


def find_active(ws: Workspace) -> RunPaths | None:
    """The run whose worker is alive, else the next in the queue, else None."""
    return next((run for run, _ in _live(ws)), next((run for run, _ in waiting_runs(ws)), None))


def _live(ws: Workspace) -> list[tuple[RunPaths, RunState]]:
    return [(run, state) for run, state in unfinished_runs(ws) if state.status in ("running", "stopping")]


def waiting_runs(ws: Workspace) -> list[tuple[RunPaths, RunState]]:
    """Queued runs, the next one first."""
    waiting = [(run, state) for run, state in unfinished_runs(ws) if state.status == "queued"]
    return sorted(waiting, key=lambda pair: (pair[1].ticket or 0, pair[0].run_id))


def dispatch(ws: Workspace, command: tuple[str, ...] | None = None) -> list[str]:
    """Start the next queued run on every device that nothing owns; the ids of those started.

    Called by Start, by the app every few seconds, and by a worker as its last act.
    command: another worker than the training one.
    """
    started = []
    with lock_queue(ws):
        busy = [device_of(run) for run in _owners(ws)]
        for run, _ in waiting_runs(ws):
            device = device_of(run)
            hindered = any(in_each_others_way(device, other) for other in busy)
            busy.append(device)  # also for one that waits: nobody who came later may overtake it
            if hindered:
                continue
            if _start(ws, run, command):
                started.append(run.run_id)
    return started


def relaunch_run(ws: Workspace, run: RunPaths) -> bool:
    """Go on with a run in a fresh process; called by the run's own worker as its last act."""
    with lock_queue(ws):
        return _start(ws, run, None)


def _owners(ws: Workspace) -> list[RunPaths]:
    """Runs whose process is alive, also after its end was written: its memory is not free yet.

    A worker that dispatches as its last act, its end written, does not count itself.
    """
    owners = [run for run, _ in _live(ws)]
    for run in list_runs(ws):
        event = last_event(run)
        if event and event["kind"] == "ended" and time.time() - event["time"] < _LEAVING_S:
            state = observe(run)
            if state.pid != os.getpid() and is_alive(state.pid, state.pid_start, run.run_id):
                owners.append(run)
    return owners


def device_of(run: RunPaths) -> str:
    """What the run owns while it goes."""
    return str(load_record(run).get("device") or MAIN)


def _is_lean(run: RunPaths, record: dict[str, Any]) -> bool:
    """Whether memory matters more than time: the settings say so, or memory ran out before."""
    config = record.get("config", {})
    quantization = config.get("model", {}).get("quantization_config", {})
    said = config.get("training", {}).get("gradient_checkpointing") or quantization.get("load_in_4bit")
    return bool(said) or observe(run).short_of_memory


def _start(ws: Workspace, run: RunPaths, command: tuple[str, ...] | None) -> bool:
    own = ProcessMark.own()
    append_event(run, "launching", pid=own.pid, pid_start=own.start)
    record = load_record(run)
    training = record["config"].get("training", {})
    tracker = str(training.get("report_to", "none"))
    launch = Launch(
        offline=record.get("needs_network") is not True,
        keeps=KEYS.get(tracker, ()),
        lean=_is_lean(run, record),
        gpus=gpu_environment(training, os.environ),
    )
    try:
        mark = spawn_worker(ws, run, replace(launch, command=command) if command else launch)
    except OSError as error:
        append_event(
            run,
            "ended",
            status="failed",
            reason=f"Its process could not be started ({error.strerror or error})",
            hint="Close other programs, then press Resume.",
        )
        return False
    append_event(run, "launched", pid=mark.pid, pid_start=mark.start)
    return True

"""What happens to a run that was asked to stop and does not: first patience, then force."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import ProcessMark, signal_tree
from medlora.runs.queue import lock_queue, unfinished_runs
from medlora.runs.replaced import put_back
from medlora.runs.state import RunState
from medlora.runs.stop import close_stopped
from medlora.workspace import RunPaths, Workspace

Action = Literal["wait", "terminate", "kill", "close"]


@dataclass(frozen=True)
class Grace:
    """How long a worker may take, in seconds.

    acknowledge_s: to say that it heard (`StopListener` does so from a thread, so that a long step on a
    CPU does not count as silence). finish_s: without any event after that, while it saves
    and publishes. terminate_s: between asking the system to end it and ending it by force.
    """

    acknowledge_s: float = 15.0
    finish_s: float = 600.0
    terminate_s: float = 15.0


def decide(state: RunState, now: float, grace: Grace) -> Action:
    """What is due for a run in this state; a pure function of it and the clock."""
    if not state.stop_requested or state.ended or state.status == "queued":
        return "wait"
    if state.status == "lost":
        return "close"
    asked = state.stop_requested_at or 0.0
    if state.signalled == "kill":
        return "wait"
    forced: Action = "kill" if state.signalled == "terminate" else "terminate"
    since, patience = asked, grace.acknowledge_s
    if state.signalled == "terminate":
        since, patience = state.signalled_at or asked, grace.terminate_s
    if state.heard_at is not None and state.heard_at >= since:
        since, patience = max(since, state.last_event_at or 0.0), grace.finish_s
    return forced if now - since >= patience else "wait"


def watch_runs(ws: Workspace, grace: Grace | None = None) -> None:
    """Look at every run once and do what is due; called every few seconds."""
    for run, state in unfinished_runs(ws):
        if state.status == "lost":
            put_back(ws, run)
        _watch(ws, run, grace or Grace())


def _watch(ws: Workspace, run: RunPaths, grace: Grace) -> None:
    if decide(observe(run), time.time(), grace) == "wait":
        return
    with lock_queue(ws):
        state = observe(run)
        action = decide(state, time.time(), grace)
        if action == "close":
            was = {"terminate": "terminated", "kill": "killed"}.get(state.signalled or "", "lost")
            close_stopped(run, was=was, discard=state.discard)
        elif action in ("terminate", "kill") and state.pid is not None and state.pid_start is not None:
            append_event(run, "signalled", signal=action)
            mark = ProcessMark(state.pid, state.pid_start)
            signal_tree(mark, kill=action == "kill", run_id=run.run_id)

"""A run as it is now: what its events say, and whether its process still lives."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache

from medlora.runs.events import last_event, read_events
from medlora.runs.process import is_alive
from medlora.runs.state import RunState, fold
from medlora.workspace import RunPaths

# Between "about to start" and the worker's first event lie the imports of a busy machine.
LAUNCH_GRACE_S = 60.0


def observe(run: RunPaths) -> RunState:
    """The run's state now; `lost` when it should be running and its process is gone.

    A launch that came to nothing, because the app died in the middle of it, counts as still queued.
    The lists in the state are shared with other readers: do not change them.
    """
    state = _folded(run)
    if state.status not in ("running", "stopping") or is_alive(state.pid, state.pid_start, run.run_id):
        return state
    if state.launching:
        waited = time.time() - (state.phase_at or 0.0)
        return state if 0 <= waited < LAUNCH_GRACE_S else replace(state, status="queued", phase="")
    # The last events may have been written between the two looks.
    state = _folded(run)
    return state if state.ended or state.status == "queued" else replace(state, status="lost", eta_s=None)


def is_over(run: RunPaths) -> bool:
    """Whether the newest event is the run's end; looks at the file's tail only."""
    event = last_event(run)
    return event is not None and event["kind"] == "ended"


def _folded(run: RunPaths) -> RunState:
    try:
        stat = run.events.stat()
    except FileNotFoundError:
        return RunState()
    return _fold_file(run, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _fold_file(run: RunPaths, size: int, mtime_ns: int) -> RunState:
    """An events file only grows, so its size and time name its content."""
    return fold(read_events(run))

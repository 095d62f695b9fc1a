"""Stop means stop and keep; discard is its own wish. Both are a file that the worker looks for."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.queue import lock_queue
from medlora.runs.store import remove_checkpoints
from medlora.workspace import RunPaths, Workspace, write_json


@dataclass(frozen=True)
class StopRequest:
    """What the stop file says."""

    discard: bool


def read_stop(run: RunPaths) -> StopRequest | None:
    """The wish to stop, if there is one; an unreadable file is a wish to stop and keep."""
    try:
        content = json.loads(run.stop_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return StopRequest(discard=False)
    return StopRequest(discard=isinstance(content, dict) and content.get("discard") is True)


def request_stop(ws: Workspace, run: RunPaths, *, discard: bool = False) -> None:
    """Ask a run to stop; a queued one leaves the queue, a lost one is closed.

    Pressing again changes nothing, except that a stop can still become a discard.
    Raises: UserError for a discard of a run that has ended.
    """
    with lock_queue(ws):
        state = observe(run)
        if state.ended:
            if discard and not state.discard:
                raise UserError(
                    f"run {run.run_id}: it has ended ({state.status}), so there is nothing to discard; "
                    "delete its adapter or remove the run instead"
                )
            return
        if state.status in ("running", "stopping"):
            before = read_stop(run)
            if before is None or (discard and not before.discard):
                write_json(run.stop_file, {"discard": discard})
                append_event(run, "stop_requested", discard=discard)
            return
        append_event(run, "stop_requested", discard=discard)
        close_stopped(run, was=state.status, discard=discard)


def close_stopped(run: RunPaths, *, was: str, discard: bool) -> None:
    """Write the end of a run that no worker is left to end."""
    if discard:
        remove_checkpoints(run)
    reason, hint = _WORDS[was]
    append_event(
        run,
        "ended",
        status="stopped",
        reason=f"{reason}; its checkpoints were removed" if discard and was != "queued" else reason,
        hint=None if discard else hint,
    )


_RESUME = "Resume continues from its last complete checkpoint."
_WORDS = {
    "queued": ("It was taken out of the queue before it started", "Resume puts it back into the queue."),
    "lost": ("Its process had already ended without a word", _RESUME),
    "terminated": ("It did not answer the stop and was asked by the system to end", _RESUME),
    "killed": ("It did not answer the stop and was ended by force", _RESUME),
}


class StopListener:
    """Answers a stop from a thread of the worker, so that a long step does not look like silence.

    Why: a step on a slow CPU may take longer than the watchdog waits for a sign of life. A suspended
    or hanging process cannot answer, and is ended.
    """

    def __init__(self, run: RunPaths, every_s: float = 0.5) -> None:
        self._run = run
        self._every_s = every_s
        self._thread = threading.Thread(target=self._listen, name="stop-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _listen(self) -> None:
        while not self._run.stop_file.exists():
            time.sleep(self._every_s)
        append_event(self._run, "phase", name="stopping", detail="after the step that is being computed")

"""The run's only memory: one JSON object a line, appended and synced, never rewritten.

Kinds and their fields (each event also carries `time`, seconds since the epoch):

    created    queued{ticket}    moved{ticket}   launching{pid, pid_start}   launched{pid, pid_start}
    started{pid, pid_start, resumed_from}        phase{name, detail, fraction}
    plan{total_steps, rows_train, rows_eval, truncated, left_out, trainable_parameters, …}
    held{memory_before_gib}    trial{tokens, seconds, peak_memory_gib}
    smaller_batch{micro_batch, accumulation, step, message}
    notice{message}    step{step, loss, …}       eval{step, eval_loss}       checkpoint{step, name}
    stop_requested{discard}                      signalled{signal, reason}   published{adapter, step}
    ended{status, reason, hint, seconds, train_loss, eval_loss, steps, tokens_per_second, peak_memory_gib}
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medlora.runs.state import Event, RunState, fold
from medlora.workspace import RunPaths

__all__ = ["Event", "RunState", "append_event", "fold", "last_event", "read_events"]

_LOCK_WAIT_S = 5.0
_TAIL_BYTES = 65536


def append_event(run: RunPaths, kind: str, **fields: Any) -> None:
    """Add one event and sync it to the disk; what is not finite is written as null.

    Why the lock may be passed by: a stopped process could hold it for ever, and an event that lands
    in the middle of another costs one line, which readers skip.
    """
    entry = {"kind": kind, "time": round(time.time(), 3), **{k: _finite(v) for k, v in fields.items()}}
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    lock = FileLock(run.root / "events.lock", timeout=_LOCK_WAIT_S)
    try:
        lock.acquire()
    except Timeout:
        _append(run.events, line)
        return
    try:
        _append(run.events, line)
    finally:
        lock.release()


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and (file.seek(size - 1), file.read(1))[1] != b"\n":
            line = b"\n" + line  # a line torn by a killed writer stays alone
        file.write(line)
        os.fsync(file.fileno())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_events(run: RunPaths, since: int = 0) -> list[dict[str, Any]]:
    """The events from number `since` on; a torn line, last or not, is left out."""
    try:
        data = run.events.read_bytes()
    except FileNotFoundError:
        return []
    events = [event for line in data.split(b"\n")[:-1] if (event := _parse(line)) is not None]
    return events[since:]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("kind"), str) else None


def last_event(run: RunPaths) -> dict[str, Any] | None:
    """The newest complete event, read from the end of the file: cheap for a long run."""
    try:
        with run.events.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    return next((event for line in reversed(lines) if (event := _parse(line)) is not None), None)

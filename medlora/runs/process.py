"""Worker processes: started so that they outlive the app, told apart by pid and start time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from medlora.workspace import RunPaths, Workspace, make_private

# Two readings of one start time differ by the clock's ticks; the clock itself may also be set.
_START_TOLERANCE_S = 2.0
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE
)
_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True)
class ProcessMark:
    """A process told apart from every later one with the same pid."""

    pid: int
    start: float

    @classmethod
    def of(cls, pid: int) -> ProcessMark | None:
        """The mark of a running process, None when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @classmethod
    def own(cls) -> ProcessMark:
        return cls(os.getpid(), psutil.Process().create_time())


def is_alive(pid: int | None, start: float | None, run_id: str | None = None) -> bool:
    """Whether that very process still runs; a zombie does not.

    run_id: found in the command line it vouches for the process when the machine's clock was set and
    the start times no longer agree.
    """
    if pid is None or start is None:
        return False
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        if abs(process.create_time() - start) <= _START_TOLERANCE_S:
            return True
        return run_id is not None and any(run_id in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


# Large blocks go back to the system when they are freed. Why not always: a step on a CPU takes a quarter
# longer; without it glibc keeps the holes: a run took half as much again, in 4 bits two thirds more (every
# weight is unpacked for its product and freed after it), with checkpointing thrice as much.
LEAN_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
# Else PyTorch asks for huge pages for its large blocks: a step on a CPU takes a little less, in equal bits.
FAST_ALLOCATION = {"THP_MEM_ALLOC_ENABLE": "1"}


@dataclass(frozen=True)
class Launch:
    """How a worker is started.

    command: what to run, the run's folder appended.
    offline: whether the model is at hand, so that the worker needs no network and no token.
    keeps: how the names of secrets begin that the worker needs all the same: those of a tracker.
    lean: whether memory matters more than time.
    gpus: what the worker's environment says of them.
    """

    command: tuple[str, ...] = (sys.executable, "-m", "medlora.training.worker")
    offline: bool = True
    keeps: tuple[str, ...] = ()
    lean: bool = False
    gpus: Mapping[str, str] = field(default_factory=dict)


def spawn_worker(ws: Workspace, run: RunPaths, launch: Launch | None = None) -> ProcessMark:
    """Start the run's worker in a session of its own, its output going to log.txt.

    Why the thread: it waits for the child, so that one that ends leaves no zombie behind; the child
    lives on when this process ends.
    """
    launch = launch or Launch()
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            [*launch.command, str(run.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=make_private(ws.empty),
            env=worker_environment(ws, os.environ, offline=launch.offline, keeps=launch.keeps)
            | (LEAN_ALLOCATION if launch.lean else FAST_ALLOCATION)
            | dict(launch.gpus),
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
            | getattr(subprocess, "DETACHED_PROCESS", 0),
        )
    finally:
        os.close(log)
    mark = ProcessMark.of(child.pid) or ProcessMark(child.pid, 0.0)
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
    return mark


def worker_environment(
    ws: Workspace, environ: Mapping[str, str], *, offline: bool, keeps: tuple[str, ...] = ()
) -> dict[str, str]:
    """The environment of a worker: no secrets but the Hub's token where a model must be fetched, and those
    whose names begin as `keeps` says."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("GRADIO_")
        and (
            not _SECRET.search(name)
            or (name in _HUB_TOKENS and not offline)
            or (keeps and name.startswith(keeps))
        )
    }
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [environ.get("PYTHONPATH")])]
    kept.update(
        PYTHONPATH=os.pathsep.join(paths),
        PYTHONUTF8="1",
        PYTHONUNBUFFERED="1",
        MEDLORA_HOME=str(ws.home),
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        TOKENIZERS_PARALLELISM="false",
    )
    # Threads that spin while they wait made two of them eight times slower than one on a busy machine.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # GPUs by the numbers of the driver's tool, which people choose by; torch would begin with the fastest.
    kept.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if offline:
        kept["HF_HUB_OFFLINE"] = "1"
    return kept


def signal_tree(mark: ProcessMark, *, kill: bool, run_id: str | None = None) -> None:
    """Ask (or with kill, force) the process and all its descendants to end."""
    if not is_alive(mark.pid, mark.start, run_id):
        return
    try:
        parent = psutil.Process(mark.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill() if kill else process.send_signal(signal.SIGTERM)
        except psutil.Error:
            continue

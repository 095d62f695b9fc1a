from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from medlora.runs.live import observe
from medlora.runs.process import ProcessMark, signal_tree
from medlora.runs.state import RunState
from medlora.runs.store import RunRequest, list_runs
from medlora.workspace import RunPaths, Workspace

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / "home")
    yield workspace
    for run in list_runs(workspace):
        state = observe(run)
        if state.pid and state.pid_start and state.pid != psutil.Process().pid:
            signal_tree(ProcessMark(state.pid, state.pid_start), kill=True)


@pytest.fixture
def make_request() -> Callable[..., RunRequest]:
    def make(name: str = "trial", **changes: object) -> RunRequest:
        values = {"config": {"training": {"max_steps": 3}}, "dataset": {"name": "d"}, "adapter_name": name}
        return RunRequest(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def worker() -> Callable[[str], tuple[str, ...]]:
    return lambda behaviour: (sys.executable, str(FAKE_WORKER), behaviour)


@pytest.fixture
def wait_for() -> Callable[..., RunState]:
    def wait(run: RunPaths, accept: Callable[[RunState], bool], timeout_s: float = 20) -> RunState:
        end = time.monotonic() + timeout_s
        while not accept(state := observe(run)):
            log = run.log.read_text() if run.log.exists() else ""
            assert time.monotonic() < end, f"never reached; {state}\n{log}"
            time.sleep(0.02)
        return state

    return wait

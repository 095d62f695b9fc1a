"""Whatever is pressed and whatever dies, in any order: every run is where a simple model says it is.

Workers are real processes that do nothing; the test writes their events, as a worker would.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import is_alive
from medlora.runs.queue import dispatch, move_up, requeue_run, submit_run, waiting_runs
from medlora.runs.stop import request_stop
from medlora.runs.store import RunRequest, remove_run
from medlora.runs.watchdog import watch_runs
from medlora.workspace import RunPaths, Workspace
from tests.waiting import wait_until

IDLE = ("/bin/sh", "-c", "exec sleep 600")


class Schedule(RuleBasedStateMachine):
    """The model: a status per run, the order of those that wait, and the one that owns the device."""

    runs: Bundle[RunPaths] = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="medlora-schedule-"))
        self.ws = Workspace.open(self.home)
        self.status: dict[RunPaths, str] = {}
        self.line: list[RunPaths] = []
        self.discarded: set[RunPaths] = set()
        self.processes: dict[RunPaths, psutil.Process] = {}
        self.count = 0

    def teardown(self) -> None:
        for process in self.processes.values():
            self._kill(process)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def owner(self) -> RunPaths | None:
        return next((run for run, status in self.status.items() if status in ("running", "stopping")), None)

    # What people do

    @rule(target=runs)
    def submit(self) -> RunPaths:
        self.count += 1
        config: dict[str, Any] = {"training": {"max_steps": self.count}}
        run = submit_run(self.ws, RunRequest(config=config, dataset={}, adapter_name=f"run-{self.count}"))
        self.status[run] = "queued"
        self.line.append(run)
        return run

    @rule(run=runs, discard=st.booleans())
    def stop(self, run: RunPaths, discard: bool) -> None:
        was = self.status[run]
        ended = was in ("completed", "failed", "stopped")
        if ended and discard and run not in self.discarded:
            with pytest.raises(UserError, match="there is nothing to discard"):
                request_stop(self.ws, run, discard=True)
            return
        request_stop(self.ws, run, discard=discard)
        if ended:
            return
        self.status[run] = "stopping" if was in ("running", "stopping") else "stopped"
        if run in self.line:
            self.line.remove(run)
        if discard:
            self.discarded.add(run)

    @rule(run=runs)
    def resume(self, run: RunPaths) -> None:
        was = self.status[run]
        if was in ("queued", "running", "stopping", "completed") or run in self.discarded:
            with pytest.raises(UserError, match=f"^run {run.run_id}: it "):
                requeue_run(self.ws, run)
            return
        requeue_run(self.ws, run)
        self.status[run] = "queued"
        self.line.append(run)

    @rule(run=runs)
    def move(self, run: RunPaths) -> None:
        if run not in self.line:
            with pytest.raises(UserError, match="it does not wait in the queue"):
                move_up(self.ws, run)
            return
        move_up(self.ws, run)
        place = self.line.index(run)
        if place:
            self.line[place - 1 : place + 1] = [run, self.line[place - 1]]

    # What the app does, whichever copies of it are there

    @rule(times=st.integers(1, 3))
    def look(self, times: int) -> None:
        """Every app that is open looks at the queue; only the first finds something to start."""
        expected = [self.line[0]] if self.line and self.owner is None else []
        started = [run_id for _ in range(times) for run_id in dispatch(self.ws, IDLE)]
        assert started == [run.run_id for run in expected]
        for run in expected:
            self.line.remove(run)
            self.status[run] = "running"
            self.processes[run] = psutil.Process(observe(run).pid)
        watch_runs(self.ws)
        for run, status in self.status.items():
            if status == "lost" and observe(run).stop_requested:
                self.status[run] = "stopped"

    # What workers do, and what is done to them

    @precondition(lambda self: self.owner is not None)
    @rule(step=st.integers(1, 9))
    def work(self, step: int) -> None:
        run = self.owner
        assert run is not None
        process = self.processes[run]
        append_event(run, "started", pid=process.pid, pid_start=process.create_time(), resumed_from=None)
        append_event(run, "step", step=step, total_steps=9, loss=1.0)

    @precondition(lambda self: self.owner is not None)
    @rule(how=st.sampled_from(["completed", "failed"]))
    def end(self, how: str) -> None:
        run = self.owner
        assert run is not None
        self.status[run] = "stopped" if self.status[run] == "stopping" else how
        append_event(run, "ended", status=self.status[run])
        self._kill(self.processes.pop(run))

    @precondition(lambda self: self.owner is not None)
    @rule()
    def kill(self) -> None:
        run = self.owner
        assert run is not None
        self._kill(self.processes.pop(run))
        self.status[run] = "lost"

    # What must hold at every moment

    @invariant()
    def every_run_is_where_it_should_be(self) -> None:
        seen = {run.run_id: observe(run).status for run in self.status}
        assert seen == {run.run_id: status for run, status in self.status.items()}

    @invariant()
    def the_queue_is_in_order(self) -> None:
        assert [run for run, _ in waiting_runs(self.ws)] == self.line

    @invariant()
    def one_process_owns_the_device(self) -> None:
        states = [observe(run) for run in self.status]
        assert sum(is_alive(state.pid, state.pid_start) for state in states) == len(self.processes) <= 1

    def _kill(self, process: psutil.Process) -> None:
        start = process.create_time()
        process.kill()
        wait_until(lambda: not is_alive(process.pid, start), 20)


TestSchedule = pytest.mark.skipif(os.name != "posix", reason="the idle worker is a shell's")(
    Schedule.TestCase
)
TestSchedule.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_removed_run_leaves_the_queue_in_order(tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path)
    runs = [
        submit_run(ws, RunRequest(config={"n": n}, dataset={}, adapter_name=f"run-{n}")) for n in range(3)
    ]
    remove_run(runs[1])
    assert [run for run, _ in waiting_runs(ws)] == [runs[0], runs[2]]

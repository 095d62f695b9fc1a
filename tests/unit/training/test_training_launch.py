"""What a run's worker makes of how its processes ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.runs.events import append_event
from medlora.training.failures import explain, is_out_of_memory
from medlora.training.launch import (
    RankError,
    _explain_end,
    check_processes,
    say_how_to_join,
    write_failure,
)
from medlora.training.stopping import StoppedEarly
from medlora.workspace import RunPaths

pytestmark = pytest.mark.torch
TWO = Config.model_validate({"training": {"num_processes": 2}})
GONE = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711")


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def test_the_process_that_failed_by_itself_is_believed_not_the_one_that_waited_for_it(run: RunPaths) -> None:
    write_failure(run, 0, GONE)
    write_failure(run, 1, MemoryError("can't allocate memory"))
    with pytest.raises(RankError) as caught:
        _explain_end(run, TWO, 3)
    assert is_out_of_memory(caught.value)
    assert explain(caught.value)[0] == "The memory of this machine was not enough"


def test_a_process_that_was_killed_is_told_by_its_signal(run: RunPaths) -> None:
    write_failure(run, 0, GONE)
    with pytest.raises(RankError) as caught:
        _explain_end(run, TWO, -9)
    assert explain(caught.value) == (
        "One of the run's 2 processes was ended from outside (by signal 9), so the others stopped too",
        "Resume continues from the last complete checkpoint.",
    )
    assert not is_out_of_memory(caught.value)


def test_a_stop_before_the_first_step_is_no_failure(run: RunPaths) -> None:
    write_failure(run, 1, StoppedEarly())
    write_failure(run, 0, GONE)
    with pytest.raises(StoppedEarly):
        _explain_end(run, TWO, 3)


def test_an_end_that_is_written_stays(run: RunPaths) -> None:
    append_event(run, "ended", status="stopped")
    _explain_end(run, TWO, -15)


@pytest.mark.parametrize(
    ("device", "gpus", "words"),
    [
        (
            "cuda",
            1,
            "training.num_processes: each process needs a GPU of its own, and 1 may be used here (got 2); "
            "lower it, or name more in training.devices",
        ),
        ("mps", 0, "training.num_processes: an Apple GPU trains in one process (got 2); write 1"),
    ],
)
def test_more_processes_than_the_machine_can_hold_are_refused(device: str, gpus: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        check_processes(TWO, device, gpus)
    assert str(caught.value) == words
    check_processes(TWO, "cpu", 0)


def test_other_machines_are_told_how_to_join(run: RunPaths) -> None:
    training = {"num_machines": 3, "num_processes": 4, "meeting_point": "10.0.0.5:29500"}
    config = Config.model_validate({"training": training})
    assert say_how_to_join(run, config) == (
        "Waiting for the other machines. On each, with its own NUMBER from 1 on: torchrun --nnodes=3 "
        "--node-rank=NUMBER --nproc-per-node=4 --master-addr=10.0.0.5 --master-port=29500 --max-restarts=0 "
        f"-m medlora.training.rank {run.root}"
    )


def test_a_process_that_failed_is_gone_whatever_would_still_wait() -> None:
    stuck = (
        "import atexit, runpy, sys, time; atexit.register(time.sleep, 600); sys.argv = ['rank']; "
        "runpy.run_module('medlora.training.rank', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", stuck], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "usage: torchrun" in done.stderr) == (2, True)

"""Never lost: random kills, a full disk, a missing file; the same bits, or words that say why not."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medlora.runs.store import load_record
from medlora.training.checkpoints import REQUIRED
from medlora.workspace import RunPaths
from tests.golden.kit import CHECKOUT, Kit, end_of, events_of

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}
TRAINING = {"max_steps": 30, "save_steps": 1, "eval_steps": 10, "logging_steps": 1}
HERE = Path(__file__).parent


@pytest.mark.timeout(600)
def test_killed_again_and_again_at_random_moments_it_ends_with_the_same_bits(kit: Kit) -> None:
    config = kit.config(training=TRAINING)
    whole, run = kit.make_run(config, SETUP), kit.make_run(config, SETUP)
    assert kit.work(whole) == 0, end_of(whole)
    chance = random.Random(7)
    killed = 0
    while killed < 4:
        worker = kit.spawn(run)
        steps = len(events_of(run, "step"))
        deadline = time.monotonic() + 120
        while len(events_of(run, "step")) < steps + 2 and worker.poll() is None:
            assert time.monotonic() < deadline, run.log.read_text(encoding="utf-8")
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.15))
        if worker.poll() is not None:
            break
        worker.kill()
        worker.wait()
        killed += 1
    assert killed >= 2
    if not events_of(run, "ended"):
        assert kit.work(run) == 0, end_of(run)
    assert end_of(run)["status"] == "completed"
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")


def ended_early(kit: Kit) -> RunPaths:
    """A run with checkpoints of steps 2 and 4 that died before its end."""
    run = kit.make_run(
        kit.config(training=TRAINING | {"max_steps": 4, "save_steps": 2, "eval_steps": 100}), SETUP
    )
    assert kit.work(run) == 0, end_of(run)
    return run


def test_whichever_file_of_a_checkpoint_is_gone_the_run_says_so(kit: Kit, tmp_path: Path) -> None:
    run = ended_early(kit)
    shutil.rmtree(kit.ws.adapter("tiny"))
    whole = tmp_path / "whole"
    shutil.copytree(run.checkpoints, whole)
    (only,) = run.checkpoints.glob("checkpoint-*")
    for name in sorted(REQUIRED):
        shutil.rmtree(run.checkpoints)
        shutil.copytree(whole, run.checkpoints)
        (run.checkpoints / only.name / name).unlink()
        assert kit.work(run) == 3
        assert events_of(run, "ended")[-1]["reason"] == (
            f"checkpoint-4: it cannot be resumed from: {name} is missing; put the file back, "
            "or start the run again"
        )
        assert not kit.ws.adapter("tiny").exists()
    shutil.rmtree(run.checkpoints)
    shutil.copytree(whole, run.checkpoints)
    assert kit.work(run) == 0, end_of(run)
    assert load_record(run)["results"]["adapter"] == "tiny"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has mount namespaces")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["checkpoints", "home"])
def test_a_full_disk_costs_no_more_than_the_last_checkpoint(tmp_path: Path, what: str) -> None:
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, str(HERE / "on_a_small_disk.py"), str(tmp_path / "home"), what],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.strip().split("\n")[-1])
    assert told["first"] == 3, told
    assert told["failed"] == {
        "status": "failed",
        "reason": "The disk is full, so nothing more could be saved",
        "hint": "Free some space and press Resume: the last complete checkpoint was kept.",
    }
    assert told["kept"] is not None
    assert told["resumed_from"] == told["kept"]
    assert (told["second"], told["status"], told["same"]) == (0, "completed", True)

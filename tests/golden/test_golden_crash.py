"""Killed at any moment, a run ends with the same bits as one that never was."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from medlora.training.checkpoints import MANIFEST
from medlora.workspace import RunPaths
from tests.golden.kit import Kit, end_of, events_of

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}
TRAINING = {"max_steps": 24, "logging_steps": 1, "save_steps": 2, "eval_steps": 6}


def kill_when(kit: Kit, run: RunPaths, ready: Callable[[], bool], every_s: float = 0.02) -> None:
    worker = kit.spawn(run)
    deadline = time.monotonic() + 90
    while not ready() and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(every_s)
    worker.kill()
    worker.wait()
    assert not events_of(run, "ended"), run.log.read_text(encoding="utf-8")


def is_saving(run: RunPaths) -> bool:
    """Whether a checkpoint after the second is being written right now."""
    folders = list(run.checkpoints.glob("checkpoint-*"))
    return len(folders) > 2 and any(not (folder / MANIFEST).exists() for folder in folders)


def finish_in_own_process(kit: Kit, run: RunPaths) -> None:
    worker = kit.spawn(run)
    assert worker.wait(timeout=120) == 0, run.log.read_text(encoding="utf-8")


@pytest.mark.timeout(300)
def test_a_killed_run_ends_with_the_same_bits(kit: Kit) -> None:
    config = kit.config(training=TRAINING)
    whole, killed, torn = (kit.make_run(config, SETUP) for _ in range(3))
    assert kit.work(whole) == 0, end_of(whole)
    kill_when(kit, killed, lambda: any(event["step"] >= 15 for event in events_of(killed, "step")))
    finish_in_own_process(kit, killed)
    assert events_of(killed, "started")[-1]["resumed_from"] >= 12
    kill_when(kit, torn, lambda: is_saving(torn), every_s=0.001)
    assert kit.work(torn) == 0, end_of(torn)
    assert events_of(torn, "started")[-1]["resumed_from"] >= 2
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")
    assert kit.adapter_bytes("tiny-3") == kit.adapter_bytes("tiny")


def test_a_run_killed_before_publishing_publishes_the_same_bytes(kit: Kit) -> None:
    run = kit.make_run(kit.config(training={"max_steps": 5}), SETUP)
    assert kit.work(run) == 0
    first = kit.adapter_bytes()
    shutil.rmtree(kit.ws.adapter("tiny"))
    assert kit.work(run) == 0
    assert kit.adapter_bytes() == first


def test_a_checkpoint_without_one_of_its_files_is_passed_over_with_a_notice(kit: Kit) -> None:
    config = kit.config(training={"max_steps": 8, "save_steps": 2, "eval_steps": 100})
    whole = kit.make_run(config, SETUP)
    assert kit.work(whole) == 0
    run = kit.make_run(config, SETUP)
    kill_when(kit, run, lambda: any(event["step"] >= 4 for event in events_of(run, "checkpoint")))
    newest = max(run.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    step = int(newest.name.split("-")[1])
    (newest / "optimizer.pt").unlink()
    assert kit.work(run) == 0, end_of(run)
    said = [event["message"] for event in events_of(run, "notice")]
    assert f"The checkpoint of step {step} was passed over: optimizer.pt is missing." in said
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")

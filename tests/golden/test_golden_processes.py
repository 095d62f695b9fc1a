"""Two processes train one run: as one process would with twice the batch, and they live and end together."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file

from medlora.runs.live import observe
from medlora.runs.queue import requeue_run
from medlora.runs.stop import request_stop
from medlora.workspace import RunPaths
from tests.golden.kit import Kit, end_of, events_of, losses_of
from tests.waiting import wait_until

EVERY_STEP = {
    "num_processes": 2,
    "logging_steps": 1,
    "save_steps": 4,
    "eval_steps": 4,
    "max_steps": 5000,
    "lr_scheduler_type": "constant",
}
Spawn = Callable[[RunPaths], subprocess.Popen[bytes]]
SETUP = {"flat": True, "label_only": True, "micro_batch": 2, "accumulation": 2}


@pytest.fixture
def spawn(kit: Kit) -> Iterator[Spawn]:
    """Start a run's worker; a test that fails leaves none behind."""
    workers: list[subprocess.Popen[bytes]] = []

    def start(run: RunPaths) -> subprocess.Popen[bytes]:
        workers.append(kit.spawn(run))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def ranks_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The worker's children that train, in the order of their numbers."""
    children = [
        child for child in psutil.Process(worker.pid).children() if "medlora.training.rank" in child.cmdline()
    ]
    return sorted(children, key=lambda child: int(child.environ()["RANK"]))


def wait_for_step(run: RunPaths, worker: subprocess.Popen[bytes], step: int) -> None:
    def is_there() -> bool:
        assert worker.poll() is None, run.log.read_text(encoding="utf-8")
        return any(event["step"] >= step for event in events_of(run, "step"))

    wait_until(is_there, 240, lambda: run.log.read_text(encoding="utf-8"))


def weights_and_chances(checkpoint: Path) -> dict[str, bytes]:
    names = ("adapter_model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth")
    return {name: (checkpoint / name).read_bytes() for name in names}


@pytest.mark.timeout(600)
def test_two_processes_learn_what_one_learns_with_twice_the_batch_and_stop_together(
    kit: Kit, spawn: Spawn
) -> None:
    plain = {"lora": {"lora_dropout": 0.0}, "data": {"eval_dataset_size": 0.2}}
    one = kit.make_run(
        kit.config(training=EVERY_STEP | {"num_processes": 1, "max_steps": 12}, **plain),
        {**SETUP, "micro_batch": 4},
    )
    assert kit.work(one) == 0, end_of(one)
    two = kit.make_run(kit.config(training=EVERY_STEP, **plain), SETUP)
    worker = spawn(two)
    # The twelfth step is the third one of the second epoch; the first ended with a batch of its own size.
    wait_for_step(two, worker, 12)
    ranks = ranks_of(worker)
    assert len(ranks) == 2
    listening = [c.laddr.ip for p in ranks for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert set(listening) <= {"127.0.0.1"}, listening
    request_stop(kit.ws, two)
    assert worker.wait(timeout=120) == 0, two.log.read_text(encoding="utf-8")
    end, steps = end_of(two), events_of(two, "step")[:12]
    assert (end["status"], events_of(two, "plan")[-1]["processes"]) == ("stopped", 2)
    assert end["adapter_step"] == end["steps"] >= 12
    assert losses_of(two)[:12] == pytest.approx(losses_of(one), rel=1e-5)
    assert [event["tokens"] for event in steps] == [event["tokens"] for event in events_of(one, "step")]
    scores = [[event["eval_loss"] for event in events_of(run, "eval")][:3] for run in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)


@pytest.mark.timeout(600)
def test_they_end_together_and_a_resumed_run_repeats_every_bit(kit: Kit, spawn: Spawn) -> None:
    run = kit.make_run(kit.config(training=EVERY_STEP | {"save_total_limit": 1000}), SETUP)
    worker = spawn(run)
    wait_for_step(run, worker, 9)
    ranks_of(worker)[1].kill()
    assert worker.wait(timeout=120) == 3
    end = end_of(run)
    assert (end["status"], end["reason"], end["hint"]) == (
        "failed",
        "One of the run's 2 processes was ended from outside (by signal 9), so the others stopped too",
        "Resume continues from the last complete checkpoint.",
    )
    before = weights_and_chances(run.checkpoints / "checkpoint-8")
    for folder in run.checkpoints.glob("checkpoint-*"):
        if folder.name != "checkpoint-4":
            (folder / "manifest.json").unlink()
    requeue_run(kit.ws, run)
    worker = spawn(run)
    again = run.checkpoints / "checkpoint-8" / "manifest.json"
    wait_until(again.exists, 240, lambda: run.log.read_text(encoding="utf-8"))
    assert events_of(run, "started")[-1]["resumed_from"] == 4
    assert weights_and_chances(run.checkpoints / "checkpoint-8") == before
    ranks = ranks_of(worker)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert psutil.wait_procs(ranks, timeout=30)[1] == []
    assert observe(run).status == "lost"


@pytest.mark.timeout(600)
def test_a_base_in_two_parts_learns_what_a_whole_one_learns_and_its_run_goes_on_after_a_loss(
    kit: Kit, spawn: Spawn
) -> None:
    plain = {"lora": {"lora_dropout": 0.0}, "data": {"eval_dataset_size": 0.2}}
    alone = EVERY_STEP | {"num_processes": 1, "max_steps": 8}
    one = kit.make_run(kit.config("phi3", training=alone, **plain), {**SETUP, "micro_batch": 4})
    assert kit.work(one) == 0, end_of(one)
    shared = EVERY_STEP | {"sharding": "full", "gradient_checkpointing": True, "save_total_limit": 1000}
    two = kit.make_run(kit.config("phi3", training=shared, **plain))
    worker = spawn(two)
    wait_for_step(two, worker, 9)
    ranks = ranks_of(worker)
    assert len(ranks) == 2
    ranks[1].kill()
    assert worker.wait(timeout=120) == 3
    plan = events_of(two, "plan")[-1]
    of_base = plan["total_parameters"] - plan["trainable_parameters"]
    assert (plan["processes"], plan["unpadded"]) == (2, True)
    assert plan["parameters_held"] == plan["trainable_parameters"] + of_base // 2
    assert losses_of(two)[:8] == pytest.approx(losses_of(one), rel=1e-5)
    scores = [[event["eval_loss"] for event in events_of(run, "eval")][:2] for run in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    eighth = two.checkpoints / "checkpoint-8"
    got, wanted = (
        load_file(folder / "adapter_model.safetensors") for folder in (eighth, kit.ws.adapter("tiny"))
    )
    assert {name: got[name].shape for name in got} == {name: wanted[name].shape for name in wanted}
    assert all(got[name] == pytest.approx(wanted[name], abs=2e-5) for name in wanted)
    before = weights_and_chances(eighth)
    for folder in two.checkpoints.glob("checkpoint-*"):
        if folder.name != "checkpoint-4":
            (folder / "manifest.json").unlink(missing_ok=True)
    requeue_run(kit.ws, two)
    worker = spawn(two)
    wait_until((eighth / "manifest.json").exists, 240, lambda: two.log.read_text(encoding="utf-8"))
    assert events_of(two, "started")[-1]["resumed_from"] == 4
    assert weights_and_chances(eighth) == before
    request_stop(kit.ws, two)
    assert worker.wait(timeout=120) == 0, two.log.read_text(encoding="utf-8")
    assert end_of(two)["status"] == "stopped"

"""When memory runs out: the same run in a fresh process with fewer rows at a time; then advice."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from accelerate import Accelerator

from medlora.models.architecture import built_in_facts
from medlora.runs.live import observe
from medlora.training.device import Setup
from medlora.training.shortage import halve_portion, trial_is_due
from medlora.workspace import RunPaths
from tests.golden.kit import Kit, end_of, events_of
from tests.waiting import wait_until

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}
SHORT = {"max_steps": 6, "save_steps": 2, "eval_steps": 100, "logging_steps": 1}


def wait_for_end(run: RunPaths) -> None:
    wait_until(lambda: observe(run).ended or observe(run).status == "lost", 200, lambda: run.log.read_text())


@pytest.mark.timeout(400)
def test_a_run_out_of_memory_goes_on_with_fewer_rows_at_a_time(kit: Kit) -> None:
    config = kit.config(training=SHORT)
    plain = kit.make_run(config, {**SETUP, "micro_batch": 1, "accumulation": 4})
    assert kit.work(plain) == 0, end_of(plain)
    run = kit.make_run(config, SETUP)
    worker = kit.spawn(run, Path(__file__).parent / "short_of_memory", MOST_ROWS="1")
    assert worker.wait(timeout=200) == 0, run.log.read_text(encoding="utf-8")
    wait_for_end(run)
    assert end_of(run)["status"] == "completed", run.log.read_text(encoding="utf-8")
    tried = [(event["micro_batch"], event["accumulation"]) for event in events_of(run, "smaller_batch")]
    assert tried == [(2, 2), (1, 4)]
    assert len({event["pid"] for event in events_of(run, "started")}) == 3
    assert observe(run).notices[-1] == (
        "Memory ran out with 2 rows at a time. The run goes on from step 0 with 1 at a time, "
        "4 times a step: what it learns is the same."
    )
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")


def fail_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """This process's backward pass fails in that step, as a CPU's allocator does."""
    plain, passes = Accelerator.backward, []

    def backward(self: Accelerator, loss: torch.Tensor, **settings: object) -> None:
        passes.append(loss)
        if len(passes) >= step:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        plain(self, loss, **settings)

    monkeypatch.setattr(Accelerator, "backward", backward)


@pytest.mark.timeout(300)
def test_it_goes_on_from_the_last_good_checkpoint(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = kit.make_run(kit.config(training=SHORT), SETUP)
    fail_at_step(monkeypatch, 6)
    assert kit.work(run) == 0
    wait_for_end(run)
    assert end_of(run)["status"] == "completed", run.log.read_text(encoding="utf-8")
    assert [event["step"] for event in events_of(run, "smaller_batch")] == [4]
    assert events_of(run, "started")[-1]["resumed_from"] == 4
    assert events_of(run, "plan")[-1]["micro_batch"] == 2


def test_with_one_row_at_a_time_it_ends_with_advice(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    run = kit.make_run(kit.config(training=SHORT), {**SETUP, "micro_batch": 1, "accumulation": 4})
    fail_at_step(monkeypatch, 1)
    assert kit.work(run) == 3
    end = end_of(run)
    assert (end["status"], end["reason"]) == ("failed", "The memory of this machine was not enough")
    assert end["hint"] == (
        "Turn on training.gradient_checkpointing (about a third slower); lower data.max_seq_length (now 256)"
        "; load the base model in 4 bits (model.quantization_config.load_in_4bit); close other programs, or "
        "choose a smaller base model. Fit to this device in the Configure tab works out how much."
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trial_on_the_longest_rows_changes_nothing(
    dtype: str, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = kit.config(training=SHORT)
    setup = {**SETUP, "dtype": dtype}
    plain = kit.make_run(config, setup)
    assert kit.work(plain) == 0, end_of(plain)
    assert events_of(plain, "trial") == []
    monkeypatch.setattr("medlora.training.session.trial_is_due", lambda *facts: True)
    run = kit.make_run(config, setup)
    assert kit.work(run) == 0, end_of(run)
    (trial,) = events_of(run, "trial")
    assert trial["tokens"] > 4 * 40
    assert trial["peak_memory_gib"] > 0
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")


def test_the_trial_is_made_where_memory_is_near_its_end(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = built_in_facts("starter")
    assert facts is not None
    config = kit.config(model={"base_model_name": "starter"})
    setup = Setup("cpu", "float32", "sdpa", "adamw_torch", micro_batch=4, accumulation=1)
    memory = psutil.virtual_memory()
    for free, due in ((64 * 2**30, False), (2 * 2**30, True)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: memory._replace(available=free))
        assert trial_is_due(setup, config, facts, 256) is due
    assert trial_is_due(Setup("cuda", "bfloat16", "sdpa", "adamw_torch"), config, facts, 256)


@pytest.mark.parametrize(
    ("portion", "expected"), [((4, 1), (2, 2)), ((6, 1), (3, 2)), ((5, 2), (2, 5)), ((1, 8), None)]
)
def test_a_portion_is_halved_so_that_a_step_learns_from_as_many_rows(
    kit: Kit, portion: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    setup = Setup("cpu", "float32", "sdpa", "adamw_torch", micro_batch=portion[0], accumulation=portion[1])
    smaller = halve_portion(setup, kit.config())
    assert (smaller and (smaller.micro_batch, smaller.accumulation)) == expected

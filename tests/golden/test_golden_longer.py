"""A finished run that goes on for longer."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from medlora.errors import ConfigError, UserError
from medlora.models.parent import read_parent
from medlora.runs import queue
from medlora.runs.store import load_record
from medlora.services.extend import change_settings, lengthen
from medlora.workspace import RunPaths, write_json
from tests.golden.kit import Kit, end_of, events_of

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}
SHORT = {"max_steps": 6, "save_steps": 3, "eval_steps": 3, "logging_steps": 1}


def go_on(kit: Kit, run: RunPaths, *sets: str) -> None:
    queue.requeue_run(kit.ws, run, change_settings(kit.ws, run, sets))
    assert kit.work(run) == 0, end_of(run)


def test_a_run_made_longer_is_as_if_it_had_been_that_long(kit: Kit) -> None:
    steady = SHORT | {"lr_scheduler_type": "constant"}
    whole = kit.make_run(kit.config(training=steady | {"max_steps": 12}), SETUP)
    assert kit.work(whole) == 0
    run = kit.make_run(kit.config(training=steady), SETUP)
    assert kit.work(run) == 0
    assert lengthen(run, 6) == "training.max_steps=12"
    go_on(kit, run, lengthen(run, 6))
    assert events_of(run, "started")[-1]["resumed_from"] == 6
    assert end_of(run)["steps"] == 12
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")
    assert sorted(path.name for path in kit.ws.adapters.iterdir()) == ["tiny", "tiny-2"]
    facts = json.loads((kit.ws.adapter("tiny-2") / "provenance.json").read_text(encoding="utf-8"))
    assert facts["config"]["training"]["max_steps"] == 12
    assert [config["training"]["max_steps"] for config in load_record(run)["earlier_configs"]] == [6]


def test_the_learning_rate_follows_the_new_length(kit: Kit) -> None:
    run = kit.make_run(kit.config(training=SHORT | {"lr_scheduler_type": "linear"}), SETUP)
    assert kit.work(run) == 0
    go_on(kit, run, "training.max_steps=12")
    rates = {event["step"]: event["learning_rate"] for event in events_of(run, "step")}
    assert rates[7] == pytest.approx(5e-3 * 6 / 12)
    assert rates[12] == pytest.approx(5e-3 * 1 / 12)


def test_only_what_leaves_it_the_same_run_may_change(kit: Kit) -> None:
    run = kit.make_run(kit.config(training=SHORT), SETUP)
    assert kit.work(run) == 0
    with pytest.raises(UserError) as caught:
        change_settings(kit.ws, run, ["training.learning_rate=1"])
    assert str(caught.value) == (
        "--set training.learning_rate: a run goes on with what it began with; only training."
        "{num_train_epochs, max_steps, save_steps, eval_steps, logging_steps, early_stopping_patience} "
        "may change, for anything else start a new run"
    )
    with pytest.raises(ConfigError, match=r"training\.max_steps"):
        change_settings(kit.ws, run, ["training.max_steps=many"])
    with pytest.raises(UserError) as caught:
        change_settings(kit.ws, run, ["training.num_train_epochs=50"])
    assert str(caught.value) == (
        f"run {run.run_id}: with training.max_steps=6 it has 6 steps and has done 6 already; ask for more"
    )
    with pytest.raises(UserError, match=r"^train longer: must be above 0 \(got 0\); say how many more$"):
        lengthen(run, 0)


def test_a_run_goes_on_from_an_adapter_and_says_so(kit: Kit) -> None:
    first = kit.make_run(kit.config(training=SHORT), SETUP)
    assert kit.work(first) == 0, end_of(first)
    barely = SHORT | {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    config = kit.config(training=barely, lora={"from_adapter": "tiny"})
    parent = read_parent(kit.ws, "tiny").record()
    run = kit.make_run(config, SETUP, parent=parent)
    assert kit.work(run) == 0, end_of(run)
    before, after = (
        load_file(kit.ws.adapter(name) / "adapter_model.safetensors") for name in ("tiny", "tiny-2")
    )
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    facts = json.loads((kit.ws.adapter("tiny-2") / "provenance.json").read_text(encoding="utf-8"))
    assert facts["parent"] == parent
    assert "goes on from tiny" in (kit.ws.adapter("tiny-2") / "README.md").read_text(encoding="utf-8")
    changed = kit.make_run(config, SETUP, parent=parent | {"weights_sha256": "0"})
    assert kit.work(changed) == 3
    assert end_of(changed)["reason"] == (
        "lora.from_adapter: tiny changed since the run was made; start a new run with it as it is now"
    )


def test_a_run_stopped_before_it_went_on_says_what_is_kept(kit: Kit) -> None:
    run = kit.make_run(kit.config(training=SHORT | {"max_steps": 3}), SETUP)
    assert kit.work(run) == 0, end_of(run)
    write_json(run.stop_file, {"discard": False})
    assert kit.work(run) == 0
    end = end_of(run)
    assert (end["status"], end["reason"], end["hint"]) == (
        "stopped",
        "Stopped before it went on: everything up to step 3 is kept as it was",
        "Resume continues from there.",
    )

"""Whole runs of the worker: how they end, what they leave, what they say."""

from __future__ import annotations

import hashlib
import json
import string
import threading
import time

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.stop import request_stop
from medlora.training.checkpoints import newest_valid
from medlora.workspace import RunPaths
from tests.golden.kit import Kit, end_of, events_of, losses_of, results_of

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}


def stop_when_at(kit: Kit, run: RunPaths, step: int, *, discard: bool = False) -> threading.Thread:
    """A person who presses Stop once that step is shown."""

    def press() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(event["step"] >= step for event in events_of(run, "step")):
                request_stop(kit.ws, run, discard=discard)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_a_run_leaves_an_adapter_that_plain_peft_loads(kit: Kit) -> None:
    run = kit.make_run(kit.config(training={"max_steps": 10}))
    assert kit.work(run) == 0, end_of(run)
    folder = kit.ws.adapter("tiny")
    base = AutoModelForCausalLM.from_pretrained(kit.ws.home / "tiny-llama")
    model = PeftModel.from_pretrained(base, folder).eval()
    ids = torch.arange(5, 45)[None]
    with torch.no_grad(), model.disable_adapter():
        plain = model(input_ids=ids).logits
    with torch.no_grad():
        adapted = model(input_ids=ids).logits
    assert (adapted - plain).abs().max() > 0.05
    # The same weights, put together by hand from what the run's checkpoint holds.
    by_hand = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(kit.ws.home / "tiny-llama"), run.checkpoints / "checkpoint-10"
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted, by_hand(input_ids=ids).logits)


def test_an_adapter_tells_where_it_comes_from(kit: Kit) -> None:
    run = kit.make_run(kit.config(training={"max_steps": 4}), SETUP)
    assert kit.work(run) == 0, end_of(run)
    folder = kit.ws.adapter("tiny")
    assert {path.name for path in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
        "provenance.json",
        "medlora.json",
    }
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    weights = hashlib.sha256((kit.ws.home / "tiny-llama" / "model.safetensors").read_bytes()).hexdigest()
    assert facts["base_model"]["weight_hash"] == weights
    assert facts["run_id"] == run.run_id
    assert facts["status"] == "completed"
    assert facts["dataset"]["sha256"] == hashlib.sha256(kit.data.read_bytes()).hexdigest()
    assert (facts["dataset"]["rows_train"], facts["dataset"]["rows_eval"]) == (36, 4)
    assert facts["seeds"] == {"seed": 42, "data_seed": 42}
    assert facts["metrics"]["steps"] == 4
    assert results_of(run)["adapter"] == "tiny"
    assert end_of(run)["status"] == "completed"
    assert [event["step"] for event in events_of(run, "step")] == [1, 4]
    assert not (run.root / "adapter.tmp").exists()


def test_a_second_run_of_the_same_name_gets_the_next_free_one(kit: Kit) -> None:
    for _ in range(2):
        run = kit.make_run(kit.config(training={"max_steps": 1}), SETUP)
        assert kit.work(run) == 0, end_of(run)
    assert events_of(run, "published")[0]["adapter"] == "tiny-2"


def test_four_bit_weights_train_on_a_cpu(kit: Kit) -> None:
    pytest.importorskip("bitsandbytes")
    config = kit.config(
        model={"quantization_config": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"}},
        training={"max_steps": 6, "logging_steps": 1, "learning_rate": 1e-2},
    )
    run = kit.make_run(config)
    assert kit.work(run) == 0, end_of(run)
    assert events_of(run, "plan")[0]["precision"] == "4-bit, float32"
    assert losses_of(run)[-1] < losses_of(run)[0]


def test_bfloat16_products_train_adapters_that_stay_in_float32(kit: Kit) -> None:
    run = kit.make_run(kit.config(training={"max_steps": 6}), {**SETUP, "dtype": "bfloat16"})
    assert kit.work(run) == 0, end_of(run)
    from safetensors.torch import load

    assert {tensor.dtype for tensor in load(kit.adapter_bytes()).values()} == {torch.float32}
    assert losses_of(run)[-1] < losses_of(run)[0]


@pytest.mark.timeout(300)
def test_all_that_a_run_on_a_gpu_does_is_done_together(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bits, products in 16, checkpointing, a trial on the longest rows, evaluations."""
    monkeypatch.setattr("medlora.training.session.trial_is_due", lambda *facts: True)
    config = kit.config(
        "phi3",
        model={"quantization_config": {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}},
        lora={"target_modules": ["qkv_proj", "o_proj"]},
        training={
            "max_steps": 6, "logging_steps": 1, "learning_rate": 1e-2, "save_steps": 3, "eval_steps": 3,
            "gradient_checkpointing": True, "gradient_accumulation_steps": 2,
        },
    )  # fmt: skip
    setup = {"dtype": "bfloat16", "four_bit": True, "flat": True, "label_only": True}
    run = kit.make_run(config, {**setup, "micro_batch": 2, "accumulation": 2})
    assert kit.work(run) == 0, run.log.read_text(encoding="utf-8")[-3000:]
    assert events_of(run, "plan")[0]["precision"] == "4-bit, bfloat16"
    assert events_of(run, "trial")[0]["tokens"] > 0
    assert losses_of(run)[-1] < losses_of(run)[0]
    assert len(events_of(run, "eval")) >= 2


def test_a_loss_that_is_no_number_ends_the_run_with_a_reason(kit: Kit) -> None:
    config = kit.config(training={"learning_rate": 1e6, "save_steps": 1, "eval_steps": 100})
    run = kit.make_run(config, SETUP)
    assert kit.work(run) == 3
    end = end_of(run)
    assert end["status"] == "failed"
    assert end["reason"].startswith("Training stopped: the ")
    assert "became infinite or not a number at step " in end["reason"]
    assert "lower training.learning_rate" in end["hint"]
    assert not kit.ws.adapter("tiny").exists()
    kept = newest_valid(run.checkpoints)
    saved = [event["step"] for event in events_of(run, "checkpoint")]
    assert (kept.step if kept else None) == (saved[-1] if saved else None)


def test_early_stopping_ends_a_run_that_gets_no_better(kit: Kit) -> None:
    config = kit.config(
        training={"learning_rate": 1e-12, "eval_steps": 2, "save_steps": 2, "early_stopping_patience": 2}
    )
    run = kit.make_run(config, SETUP)
    assert kit.work(run) == 0, end_of(run)
    end = end_of(run)
    assert end["status"] == "completed"
    assert end["steps"] < 20
    assert end["reason"] == f"Ended early at step {end['steps']}: the evaluation loss no longer got better"


def test_the_best_adapter_is_published_rather_than_the_last(kit: Kit) -> None:
    """Each row is about a letter of its own: learning some makes the held-back ones less likely."""
    rows = (
        {"instruction": f"Say {letter}", "response": f"{letter} " * 20} for letter in string.ascii_letters
    )
    kit.data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = kit.config(
        training={
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "eval_steps": 2,
            "save_steps": 2,
            "save_total_limit": 2,
            "seed": 1,
        }
    )
    run = kit.make_run(config, SETUP)
    assert kit.work(run) == 0, end_of(run)
    scores = {event["step"]: event["eval_loss"] for event in events_of(run, "eval")}
    best = min(scores, key=lambda step: scores[step])
    assert best < 20, scores
    assert events_of(run, "published")[0]["step"] == best
    assert end_of(run)["eval_loss"] == pytest.approx(scores[best], abs=1e-6)


def test_a_stopped_run_keeps_its_adapter_and_resumes_as_if_never_stopped(kit: Kit) -> None:
    config = kit.config(
        training={"max_steps": 30, "logging_steps": 1, "eval_steps": 1000, "load_best_model_at_end": False}
    )
    whole = kit.make_run(config, SETUP)
    assert kit.work(whole) == 0
    run = kit.make_run(config, SETUP)
    person = stop_when_at(kit, run, 3)
    assert kit.work(run) == 0
    person.join()
    end = end_of(run)
    assert end["status"] == "stopped"
    assert 3 <= end["steps"] < 30
    assert end["reason"] == f"Stopped at step {end['steps']} of 30; the adapter was kept"
    facts = json.loads((kit.ws.adapter("tiny-2") / "provenance.json").read_text(encoding="utf-8"))
    assert facts["status"] == f"stopped at step {end['steps']}"
    run.stop_file.unlink()
    assert kit.work(run) == 0
    assert events_of(run, "started")[-1]["resumed_from"] == end["steps"]
    assert kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny")
    facts = json.loads((kit.ws.adapter("tiny-2") / "provenance.json").read_text(encoding="utf-8"))
    assert facts["status"] == "completed"
    assert sorted(path.name for path in kit.ws.adapters.iterdir()) == ["tiny", "tiny-2"]


def test_a_stop_before_the_first_step_leaves_no_adapter(kit: Kit) -> None:
    run = kit.make_run(kit.config(), SETUP)
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start, resumed_from=None)
    request_stop(kit.ws, run)
    assert kit.work(run) == 0
    assert end_of(run)["status"] == "stopped"
    assert end_of(run)["reason"] == "Stopped before the first step, so there is no adapter"
    assert list(kit.ws.adapters.iterdir()) == []


def test_a_discarded_run_leaves_nothing(kit: Kit) -> None:
    config = kit.config(training={"max_steps": 200, "logging_steps": 1, "save_steps": 2, "eval_steps": 1000})
    run = kit.make_run(config, SETUP)
    person = stop_when_at(kit, run, 3, discard=True)
    assert kit.work(run) == 0
    person.join()
    assert end_of(run)["status"] == "stopped"
    assert end_of(run)["reason"] == "Discarded: nothing was kept"
    assert list(kit.ws.adapters.iterdir()) == []
    assert not run.checkpoints.exists()


def test_a_dataset_that_changed_since_the_start_is_refused(kit: Kit) -> None:
    run = kit.make_run(kit.config(), SETUP)
    kit.data.write_text('{"instruction": "What is gout?", "response": "Ask a nurse."}\n', encoding="utf-8")
    assert kit.work(run) == 3
    assert end_of(run)["reason"] == (
        "tiny.jsonl: the file changed since the run was made; start a new run with it as it is now"
    )

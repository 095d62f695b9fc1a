"""What a run computes with, and how its batches are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medlora.config.portion import cut_batches, join_batches
from medlora.config.schema import Config
from medlora.models.architecture import built_in_facts
from medlora.training.arguments import training_arguments
from medlora.training.attention import flat_is_proven
from medlora.training.device import (
    Setup,
    choose_setup,
    load_setup,
    memory_now_gib,
    memory_peak_gib,
    probe_cpu,
    save_setup,
)

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLORA_DEVICE", "cpu")


def config(**training: Any) -> Config:
    return Config.model_validate({"training": training})


def test_what_a_cpu_lacks_is_replaced_with_a_notice() -> None:
    asked = Config.model_validate(
        {
            "model": {"attn_implementation": "flash_attention_2"},
            "training": {"fp16": True, "optim": "paged_adamw_8bit"},
        }
    )
    setup = choose_setup(asked, hidden=64, inner=128)
    assert (setup.device, setup.dtype, setup.attention) == ("cpu", "float32", "sdpa")
    assert setup.optimizer == "adamw_torch"
    assert setup.notices == (
        "training.fp16: this machine (cpu) computes best in float32; it is used instead",
        "model.attn_implementation: flash_attention_2 is not used (it needs an NVIDIA GPU, not cpu); "
        "sdpa takes its place",
        "training.optim: paged_adamw_8bit needs an NVIDIA GPU, not cpu; adamw_torch takes its place",
    )


def test_the_probe_chooses_something_it_timed_and_leaves_the_threads_alone() -> None:
    before = torch.get_num_threads()
    result = probe_cpu(256, 512)
    assert torch.get_num_threads() == before
    assert f"{result.threads} threads, {result.dtype}" in result.seconds


def test_a_small_model_is_not_worth_a_probe() -> None:
    result = probe_cpu(64, 128)
    assert (result.threads, result.dtype) == (1, "float32")


def test_the_choice_is_kept_for_a_resumed_run(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    assert load_setup(path) is None
    setup = Setup("cpu", "bfloat16", "sdpa", "adamw_torch", threads=2, flat=True, notices=("one",))
    save_setup(path, setup)
    assert load_setup(path) == setup
    assert setup.autocast == "bf16"
    assert setup.precision == "bfloat16"


def test_portions_keep_the_effective_batch_and_stay_within_bounds() -> None:
    facts = built_in_facts("starter")
    assert facts is not None
    asked = config(per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert cut_batches(asked, facts, [20] * 100, 2**34) == (8, 1)
    long = config(per_device_train_batch_size=2, gradient_accumulation_steps=4, gradient_checkpointing=True)
    assert cut_batches(long, facts, [1000] * 100, 2**34) == (2, 4)
    assert cut_batches(long, facts, [5000] * 100, 2**34) == (1, 8)


def test_a_gpu_takes_the_whole_step_at_once_where_it_fits_and_never_less_than_was_set() -> None:
    facts = built_in_facts("starter")
    assert facts is not None
    asked = config(per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert join_batches(asked, facts, [1000] * 100, 2**37) == (8, 1)
    assert join_batches(asked, facts, [1000] * 100, 2**34) == (2, 4)
    assert join_batches(asked, facts, [5000] * 100, 2**37) == (2, 4)
    lean = config(per_device_train_batch_size=2, gradient_accumulation_steps=4, gradient_checkpointing=True)
    assert join_batches(lean, facts, [1000] * 100, 2**33) == (8, 1)


def test_a_sliding_window_shorter_than_a_record_needs_the_padded_path() -> None:
    assert flat_is_proven({"model_type": "llama"}, 4096)
    assert flat_is_proven({"model_type": "mistral", "sliding_window": 4096}, 4096)
    assert not flat_is_proven({"model_type": "mistral", "sliding_window": 4096}, 4097)
    assert flat_is_proven({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": False}, 4096)
    assert not flat_is_proven({"model_type": "gemma2"}, 10)


def test_arguments_follow_the_configuration(tmp_path: Path) -> None:
    asked = config(save_steps=7, save_total_limit=2, warmup_steps=100, learning_rate=3e-4)
    arguments = training_arguments(asked, Setup("cpu", "float32", "sdpa", "adamw_torch"), tmp_path, 50, True)
    assert arguments.eval_strategy == "steps"
    assert arguments.eval_steps == 7
    assert arguments.warmup_steps == 5
    assert arguments.save_total_limit == 3
    assert arguments.metric_for_best_model == "eval_loss"
    assert arguments.report_to == []
    assert not arguments.logging_nan_inf_filter
    plain = training_arguments(asked, Setup("cpu", "float32", "sdpa", "adamw_torch"), tmp_path, 50, False)
    assert plain.eval_strategy == "no"
    assert plain.metric_for_best_model is None


def test_the_peak_is_never_below_what_is_held_now() -> None:
    assert 0 < memory_now_gib("cpu") <= memory_peak_gib("cpu")

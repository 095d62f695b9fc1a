"""Fit to this device: the mildest change, written into the text and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medlora.config.memory import Forecast
from medlora.errors import ConfigError
from medlora.services import fitting
from medlora.services.fitting import describe_fit, fit_device
from medlora.services.forecast import count_forecast
from medlora.workspace import Workspace

TEXT = """# Ours: for the ward.
base_template: default  # Phi-4-mini
overrides:
  training:
    per_device_train_batch_size: 4  # as many as fit
    gradient_accumulation_steps: 2
    gradient_checkpointing: false
"""


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, free_gib: float) -> None:
    """Stand in for a machine with that much free memory."""
    values: dict[str, Any] = json.loads(
        (Path(__file__).parents[1] / "ui" / "hardware_cpu.json").read_text(encoding="utf-8")
    )
    values |= {
        "kind": kind,
        "total_gib": free_gib + 1,
        "free_gib": free_gib,
        "bitsandbytes": True,
        "bf16": True,
    }
    path = folder / "hardware.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    monkeypatch.setenv("MEDLORA_HARDWARE", str(path))


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose traces are counts, since a trace takes seconds; the trace has tests of its own."""

    def traced(ws: Workspace, config: Any) -> Forecast:
        counted = count_forecast(ws, config)
        return Forecast(
            counted.total_gib, counted.parts, counted.device, counted.trainable_parameters, "traced"
        )

    monkeypatch.setattr(fitting, "trace_forecast", traced)
    return Workspace.open(tmp_path / "home")


def test_a_run_that_fits_is_left_alone(ws, tmp_path, monkeypatch):
    machine(tmp_path, monkeypatch, "cuda", 80.0)
    found = fit_device(ws, TEXT)
    assert (found.changes, found.text, found.diff, found.fits) == ((), TEXT, "", True)
    assert describe_fit(found).startswith("It fits as it is: about ")


def test_several_processes_share_the_base_out_before_anything_is_compressed(ws, tmp_path, monkeypatch):
    machine(tmp_path, monkeypatch, "cuda", 9.0)
    text = """base_template: default
overrides:
  model: {quantization_config: {load_in_4bit: false}}
  training: {num_processes: 4, devices: all, per_device_train_batch_size: 1}
"""
    found = fit_device(ws, text)
    assert found.fits is True
    assert {change.key: change.after for change in found.changes} == {"training.sharding": "full"}


def test_the_batch_is_cut_before_anything_else_and_its_effect_kept(ws, tmp_path, monkeypatch):
    machine(tmp_path, monkeypatch, "cuda", 30.0)
    found = fit_device(ws, TEXT)
    assert found.fits is True
    assert {change.key: (change.before, change.after) for change in found.changes} == {
        "training.per_device_train_batch_size": (4, 2),
        "training.gradient_accumulation_steps": (2, 4),
    }
    assert "    per_device_train_batch_size: 2  # as many as fit\n" in found.text
    assert found.text.startswith("# Ours: for the ward.\nbase_template: default  # Phi-4-mini\n")
    assert found.diff.split("\n")[3:] == [
        "   training:",
        "-    per_device_train_batch_size: 4  # as many as fit",
        "-    gradient_accumulation_steps: 2",
        "+    per_device_train_batch_size: 2  # as many as fit",
        "+    gradient_accumulation_steps: 4",
        "     gradient_checkpointing: false",
    ]


def test_then_comes_checkpointing_and_only_at_last_are_records_cut(ws, tmp_path, monkeypatch):
    changed = {}
    for free in (9.0, 4.4):
        machine(tmp_path, monkeypatch, "cuda", free)
        found = fit_device(ws, TEXT)
        assert found.fits is True, describe_fit(found)
        changed[free] = {change.key for change in found.changes}
    assert "training.gradient_checkpointing" in changed[9.0]
    assert "data.max_seq_length" not in changed[9.0]
    assert "data.max_seq_length" in changed[4.4]


def test_what_cannot_fit_is_said_with_the_nearest_there_is(ws, tmp_path, monkeypatch):
    machine(tmp_path, monkeypatch, "cuda", 1.0)
    found = fit_device(ws, TEXT)
    assert found.fits is False
    assert found.after.total_gib < found.before.total_gib
    assert describe_fit(found).startswith("Even so it does not fit: about ")


def test_a_setting_that_the_environment_rules_is_not_proposed(ws, tmp_path, monkeypatch):
    machine(tmp_path, monkeypatch, "cuda", 30.0)
    monkeypatch.setenv("LORA_BATCH_SIZE", "4")
    found = fit_device(ws, TEXT)
    assert "training.per_device_train_batch_size" not in {change.key for change in found.changes}


def test_a_text_with_problems_is_not_fitted(ws):
    with pytest.raises(ConfigError):
        fit_device(ws, "lora: {r: 0}\n")

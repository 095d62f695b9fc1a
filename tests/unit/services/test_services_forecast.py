"""The forecast by trace: made once in a process of its own and kept; the count where that fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.services.forecast import known_forecast, trace_forecast
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_model


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HARDWARE", str(Path(__file__).parents[1] / "ui" / "hardware_cpu.json"))
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    model = make_tiny_model(tmp_path / "tiny")
    return Config.model_validate({"model": {"base_model_name": str(model)}, "lora": {"r": 8}})


def broken(*command: object, **settings: object) -> None:
    raise subprocess.TimeoutExpired("python", 1)


@pytest.mark.torch
def test_a_trace_is_made_once_and_kept(ws, config, monkeypatch):
    assert known_forecast(ws, config).source == "counted"
    traced = trace_forecast(ws, config)
    assert traced.source == "traced"
    assert set(traced.parts) == {"weights", "adapter", "optimizer", "activations", "logits", "overhead"}
    monkeypatch.setattr(subprocess, "run", broken)
    assert trace_forecast(ws, config) == traced
    assert known_forecast(ws, config) == traced
    longer = config.model_copy(update={"lora": config.lora.model_copy(update={"r": 16})})
    assert known_forecast(ws, longer).source == "counted"


def test_without_a_trace_the_count_stands(ws, config, monkeypatch):
    monkeypatch.setattr(subprocess, "run", broken)
    assert trace_forecast(ws, config) == known_forecast(ws, config)
    assert known_forecast(ws, config).source == "counted"

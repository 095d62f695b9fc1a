"""Runs on tiny models for the golden tests: made, worked here or in a process of their own, read back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medlora.config.schema import Config
from medlora.runs.events import read_events
from medlora.runs.store import RunRequest, create_run, load_record
from medlora.workspace import RunPaths, Workspace
from tests.tiny_models import make_tiny_model, write_tiny_dataset

CHECKOUT = Path(__file__).resolve().parents[2]
PLAIN_SETUP = {
    "device": "cpu",
    "dtype": "float32",
    "attention": "sdpa",
    "optimizer": "adamw_torch",
    "threads": 1,
}
_TRAINING = {
    "max_steps": 20,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 5e-3,
    "warmup_ratio": 0.0,
    "logging_steps": 5,
    "save_steps": 10,
}


class Kit:
    """A home with tiny models and a dataset of forty rows."""

    def __init__(self, home: Path) -> None:
        self.ws = Workspace.open(home)
        self.data = write_tiny_dataset(home / "tiny.jsonl", rows=40)

    def config(self, family: str = "llama", **changes: dict[str, Any]) -> Config:
        model = make_tiny_model(self.ws.home / f"tiny-{family}", family)
        values: dict[str, Any] = {
            "model": {"base_model_name": str(model), **changes.get("model", {})},
            "lora": {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, **changes.get("lora", {})},
            "training": _TRAINING | changes.get("training", {}),
            "data": {"max_seq_length": 256, **changes.get("data", {})},
            "safety": {"system_prompt": "Answer kindly."},
        }
        return Config.model_validate(values)

    def make_run(
        self, config: Config | None = None, setup: dict[str, Any] | None = None, **more: Any
    ) -> RunPaths:
        """A run; `setup` stands in for what the first start would choose."""
        dataset = {
            "name": "tiny",
            "path": str(self.data),
            "sha256": hashlib.sha256(self.data.read_bytes()).hexdigest(),
        }
        plain = (config or self.config()).model_dump(mode="json")
        request = RunRequest(config=plain, dataset=dataset, adapter_name="tiny", **more)
        run = create_run(self.ws, request)
        if setup is not None:
            from medlora.training.device import Setup

            choice = asdict(Setup(**{**PLAIN_SETUP, **setup}))
            (run.root / "setup.json").write_text(json.dumps(choice), encoding="utf-8")
        return run

    def work(self, run: RunPaths) -> int:
        """Work the run in this process; the worker's exit code."""
        from medlora.training.stopping import StopWish
        from medlora.training.worker import work

        return work(self.ws, run, StopWish(run))

    def spawn(self, run: RunPaths, *paths: Path, **environ: str) -> subprocess.Popen[bytes]:
        """Work the run in a process of its own, as the app does; `paths` come before its own modules."""
        paths_known = os.pathsep.join(map(str, (*paths, CHECKOUT)))
        environment = os.environ | {"PYTHONPATH": paths_known, "OMP_NUM_THREADS": "1"} | environ
        with run.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "medlora.training.worker", str(run.root)],
                stdout=log,
                stderr=log,
                cwd=self.ws.home,
                env=environment,
            )

    def adapter_bytes(self, name: str = "tiny") -> bytes:
        return (self.ws.adapter(name) / "adapter_model.safetensors").read_bytes()


def events_of(run: RunPaths, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["kind"] == kind]


def end_of(run: RunPaths) -> dict[str, Any]:
    return events_of(run, "ended")[-1]


def losses_of(run: RunPaths) -> list[float]:
    return [event["loss"] for event in events_of(run, "step")]


def results_of(run: RunPaths) -> dict[str, Any]:
    results: dict[str, Any] = load_record(run)["results"]
    return results

"""A LoRA adapter's files written without torch, for a model that `make_tiny_model` made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(
    base: Path, folder: Path, *, rank: int = 4, modules: tuple[str, ...] = ("q_proj", "o_proj")
) -> Path:
    """Weights, settings and provenance of an adapter on the model in `base`, as a run publishes them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    tensors = {}
    for name, weight in load_file(base / "model.safetensors").items():
        layer = name.removesuffix(".weight")
        if layer.rsplit(".", 1)[-1] in modules:
            outputs, inputs = weight.shape
            key = f"base_model.model.{layer}"
            tensors[f"{key}.lora_A.weight"] = random.standard_normal((rank, inputs)).astype(np.float32) * 0.1
            tensors[f"{key}.lora_B.weight"] = random.standard_normal((outputs, rank)).astype(np.float32) * 0.1
    save_file(tensors, folder / WEIGHTS)
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "acme/tiny",
        "r": rank, "lora_alpha": 2 * rank, "target_modules": list(modules), "bias": "none",
    }  # fmt: skip
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    provenance = {
        "base_model": {"name": "acme/tiny", "revision": "abc", "weight_hash": digest},
        "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "status": "completed",
        "dataset": {"name": "clinic", "sha256": "cd" * 32, "rows_train": 9, "rows_eval": 1},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder


def change_settings(folder: Path, **changes: Any) -> None:
    """Other values in adapter_config.json."""
    path = folder / SETTINGS
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")


def change_provenance(folder: Path, **changes: Any) -> None:
    """Other values in provenance.json; None removes a key."""
    path = folder / "provenance.json"
    values = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}), encoding="utf-8")


def change_tensors(folder: Path, change: Any) -> None:
    """Pass the tensors through `change` and write them back; the recorded hash of the weights follows."""
    tensors = change(load_file(folder / WEIGHTS))
    save_file(tensors, folder / WEIGHTS)
    change_provenance(folder, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())

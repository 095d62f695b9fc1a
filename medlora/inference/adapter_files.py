"""An adapter's files, read once and checked before any of it touches a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from medlora.inference.protocol import RequestError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_CONFIG_LIMIT = 1_000_000


@dataclass(frozen=True)
class AdapterWeights:
    """What was in the files.

    digest: SHA-256 of the very bytes the tensors came from.
    key: the adapter's name inside the model, made of its weights and settings, so that no new one hides
    behind an old name.
    exclusive: it also replaces weights of the base (biases, whole modules), so the base must be loaded anew
    once it leaves.
    """

    config: LoraConfig
    tensors: dict[str, torch.Tensor]
    digest: str
    key: str
    exclusive: bool
    base_hash: str | None


def read_adapter(folder: Path) -> AdapterWeights:
    """The adapter in a folder: safetensors only, LoRA only, finite numbers only.

    Raises: RequestError that says what is wrong with it.
    """
    settings = _read_object(folder / CONFIG)
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise RequestError(f"adapter {folder.name}: only LoRA adapters can be used (got {kind!r})")
    try:
        config = LoraConfig.from_peft_type(**settings)
        data = (folder / WEIGHTS).read_bytes()
        tensors = load_tensors(data)
    except FileNotFoundError:
        raise RequestError(
            f"adapter {folder.name}: {WEIGHTS} is missing; only safetensors files are loaded"
        ) from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise RequestError(
            f"adapter {folder.name}: its files cannot be read ({type(error).__name__}); publish it again"
        ) from error
    config.inference_mode = True
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise RequestError(
                f"adapter {folder.name}: {name}: it holds numbers that are not finite; train it again"
            )
    exclusive = (
        config.bias != "none" or bool(config.modules_to_save) or any("lora_" not in n for n in tensors)
    )
    digest = hashlib.sha256(data).hexdigest()
    whole = hashlib.sha256(f"{digest}{json.dumps(settings, sort_keys=True)}".encode()).hexdigest()
    return AdapterWeights(config, tensors, digest, f"w{whole[:24]}", exclusive, _base_hash(folder))


def _base_hash(folder: Path) -> str | None:
    """The hash of the base model that the adapter was trained on, if it is on record."""
    path = folder / "provenance.json"
    if not path.is_file():
        return None
    base = _read_object(path).get("base_model")
    found = base.get("weight_hash") if isinstance(base, dict) else None
    return found if isinstance(found, str) else None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise ValueError("too large")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(
            f"adapter {path.parent.name}: {path.name} cannot be read ({type(error).__name__})"
        ) from error
    if not isinstance(value, dict):
        raise RequestError(f"adapter {path.parent.name}: {path.name} is not a JSON object")
    return value

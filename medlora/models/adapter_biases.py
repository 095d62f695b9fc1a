"""Biases that an adapter brings in place of its base model's own.

Why a look of their own: PEFT drops a bias that it finds under another name than it expects, without a word,
and leaves the base model's in place of one that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from medlora.models.tensor_files import TensorEntry

KINDS = ("none", "all", "lora_only")
_KEY = re.compile(r"base_model\.model\.(?P<module>[\w.]+?)(?P<inner>\.base_layer)?\.bias")


def is_bias(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a tensor is a bias that its settings speak of."""
    return settings.get("bias", "none") != "none" and _KEY.fullmatch(name) is not None


def check_biases(
    entries: Mapping[str, TensorEntry],
    adapted: Collection[str],
    settings: Mapping[str, Any],
    base: Mapping[str, tuple[int, ...]] | None,
) -> Iterator[str]:
    """What is wrong with them. adapted: the layers with LoRA weights. base: the base model's biases."""
    kind = settings.get("bias", "none")
    if kind == "none":
        return
    found = {}
    for name, entry in entries.items():
        key = _KEY.fullmatch(name)
        if key is None:
            continue
        module = key["module"]
        found[module] = entry.shape
        if bool(key["inner"]) != (module in adapted):
            yield f"{name}: PEFT 0.21 would drop this bias without a word; save it with that version"
        elif kind == "lora_only" and module not in adapted:
            yield f"{name}: its settings (bias: lora_only) leave this bias out"
    if base is None:
        return
    for module, shape in found.items():
        if module not in base:
            yield f"{module}: the base model has no bias there"
        elif shape != base[module]:
            yield f"{module}: its bias has the shape {shape}, the base model's {base[module]}"
    missing = [module for module in base if (kind == "all" or module in adapted) and module not in found]
    if missing:
        yield f"{missing[0]}: its settings (bias: {kind}) name a bias there, and there is none"

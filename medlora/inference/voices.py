"""From an adapter's layers in a model to the voice that a decoding step adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from medlora.inference.low_rank import Side, Voice
from medlora.inference.step import Step


def find_voice(adapted: Any, key: str, step: Step) -> Voice | None:
    """The adapter `key` as a voice; None if it does more than a voice can (DoRA, biases, other layers)."""
    homes = {
        id(linear): (number, start, stop)
        for number, projection in enumerate(step.projections)
        for linear, start, stop in projection.spans()
    }
    found: dict[int, list[tuple[Any, int, int]]] = {}
    for module in adapted.modules():
        if not hasattr(module, "lora_A") or key not in {*module.lora_A, *module.lora_embedding_A}:
            continue
        home = homes.get(id(module.base_layer)) if isinstance(module, LoraLayer) else None
        if home is None or not _is_plain(module, key):
            return None
        found.setdefault(home[0], []).append((module, home[1], home[2]))
    return Voice({number: _join(modules, key, step, number) for number, modules in found.items()})


def _is_plain(module: LoraLayer, key: str) -> bool:
    """Only B·A, scaled: no other variant, no bias, nothing merged."""
    return key not in module.lora_variant and module.lora_B[key].bias is None and not module.merged_adapters


def _join(modules: Sequence[tuple[Any, int, int]], key: str, step: Step, number: int) -> Side:
    downs = [module.lora_A[key].weight.to(step.dtype) for module, _, _ in modules]
    width = step.projections[number].spans()[-1][2]
    up = downs[0].new_zeros(sum(len(down) for down in downs), width)
    at = 0
    for (module, start, stop), down in zip(modules, downs, strict=True):
        part = module.lora_B[key].weight.to(step.dtype) * module.scaling[key]
        up[at : at + len(down), start:stop] = part.t()
        at += len(down)
    return Side(torch.cat(downs).t().contiguous(), up)

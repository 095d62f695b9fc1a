"""Whether the fast paths compute what the plain path computes, on this very model, before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel

from medlora.training.collate import Example, FlatCollator, PaddedCollator
from medlora.training.device import Setup
from medlora.training.fit import run_decoder
from medlora.training.loss import head_is_plain, label_loss, stock_loss

_TOKENS = 64
# Relative: rounding of 32 and of 16 bits, far below any real difference.
_TOLERANCE = {torch.float32: 1e-3}
_HALF_TOLERANCE = 2e-2


def losses_agree(model: PeftModel, examples: Sequence[Example], setup: Setup) -> bool:
    """Whether the label-only loss, flat if so set up, equals the one from full logits of a padded batch."""
    base: Any = model.get_base_model()
    if not head_is_plain(base):
        return False
    device = next(model.parameters()).device
    short = _short(examples)
    padded = _on(device, PaddedCollator(0)(short))
    flat = FlatCollator(borders=setup.attention == "sdpa")
    fast = _on(device, flat(short)) if setup.flat else dict(padded)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, setup.torch_dtype, enabled=bool(setup.autocast)):
            expected = stock_loss(model(**_inputs(padded), use_cache=False).logits, padded["shift_labels"])
            hidden = run_decoder(model, base, _inputs(fast))
            got = label_loss(hidden, base.get_output_embeddings().weight, fast["shift_labels"])
    finally:
        model.train(training)
    tolerance = _TOLERANCE.get(base.dtype, _HALF_TOLERANCE)
    return abs(float(got) - float(expected)) <= tolerance * abs(float(expected))


def _short(examples: Sequence[Example]) -> list[Example]:
    """Three beginnings of unlike length; every token is a label."""
    cut = [example["input_ids"][: _TOKENS - 16 * number] for number, example in enumerate(examples[:3])]
    return [{"input_ids": ids, "labels": ids} for ids in cut]


def _inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if name not in ("labels", "shift_labels")}


def _on(device: torch.device, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in batch.items()}

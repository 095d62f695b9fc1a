"""Whether the fast paths compute what the plain path computes, on this very model, before they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from medlora.training.collate import Example, FlatCollator, PaddedCollator, flat_collator
from medlora.training.device import Setup
from medlora.training.fast_layers import stock_layers
from medlora.training.fit import run_decoder
from medlora.training.kernels import Kernels
from medlora.training.loss import head_is_plain, label_loss, stock_loss

_TOKENS = 64
# Relative: rounding of 32 and of 16 bits, far below any real difference.
_TOLERANCE = {torch.float32: 1e-3}
_HALF_TOLERANCE = 2e-2
# Of all gradients together, as a distance relative to their length. Two ways of rounding to 16 bits lead
# several hundredths apart; a wrong formula leads to one or more.
_GRADIENT_TOLERANCE = {torch.float32: 2e-3}
_HALF_GRADIENT_TOLERANCE = 0.2


def losses_agree(model: PeftModel, examples: Sequence[Example], setup: Setup) -> bool:
    """Whether the label-only loss, flat if so set up, equals the one from full logits of a padded batch."""
    base: Any = model.get_base_model()
    if not head_is_plain(base):
        return False
    device = next(model.parameters()).device
    short = _short(examples)
    padded = _on(device, PaddedCollator(0)(short))
    flat = flat_collator(setup.attention, setup.device)
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


def gradients_agree(model: PeftModel, examples: Sequence[Example], setup: Setup, kernels: Kernels) -> bool:
    """Whether loss and gradients of the fast layers equal those of the library's own on a padded batch.

    Why with shaken weights: a fresh adapter's second half is zero, which would hide most mistakes.
    """
    base: Any = model.get_base_model()
    short = _short(examples)
    padded, flat = PaddedCollator(0)(short), FlatCollator()(short)
    head = base.get_output_embeddings().weight
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval()
    try:
        with _shaken(weights):
            with stock_layers(model), torch.autocast("cpu", setup.torch_dtype, enabled=bool(setup.autocast)):
                logits = model(**_inputs(padded), use_cache=False).logits
                expected = stock_loss(logits, padded["shift_labels"])
            wanted = torch.autograd.grad(expected, weights)
            with torch.autocast("cpu", setup.torch_dtype, enabled=bool(setup.autocast)):
                hidden = run_decoder(model, base, _inputs(flat))
                got = label_loss(hidden, head, flat["shift_labels"], None, kernels)
            found = torch.autograd.grad(got, weights)
    finally:
        model.train(training)
    tolerance = _TOLERANCE.get(base.dtype, _HALF_TOLERANCE)
    apart = _distance(found, wanted)
    return (
        abs(float(got.detach()) - float(expected.detach())) <= tolerance * abs(float(expected.detach()))
        and apart <= _GRADIENT_TOLERANCE.get(base.dtype, _HALF_GRADIENT_TOLERANCE)
    )  # fmt: skip


@contextmanager
def _shaken(weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """The weights with small random numbers on top, put back afterwards; torch's own stream stays."""
    before = [weight.detach().clone() for weight in weights]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.randn(weight.shape, generator=generator).to(weight) * 0.02)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)


def _distance(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    pairs = list(zip(found, wanted, strict=True))
    apart = sum(float((one.double() - other.double()).square().sum()) for one, other in pairs)
    length = sum(float(other.double().square().sum()) for _, other in pairs)
    return (apart / max(length, 1e-30)) ** 0.5


def _short(examples: Sequence[Example]) -> list[Example]:
    """Three beginnings of unlike length; every token is a label."""
    cut = [example["input_ids"][: _TOKENS - 16 * number] for number, example in enumerate(examples[:3])]
    return [{"input_ids": ids, "labels": ids} for ids in cut]


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("labels", "shift_labels")}


def _on(device: torch.device, batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}

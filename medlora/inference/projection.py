"""The matrices of a layer as a decoding step needs them: side by side, in fewer bytes where that is possible.

Why fewer bytes: one token at a time, a processor spends its time on fetching weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

Form = Literal["half", "eight_bit"]

# What a weight below the smallest normal number of 16 bits may lose.
_TINY = 2.0**-25
# Looked at together, since they lie in the processor's own memory then.
_ROWS = 256


class Projection:
    """One or several linear layers that read the same input; their outputs lie one after another.

    Shapes: inputs (rows, k), outputs (rows, n).
    """

    def __init__(self, linears: Sequence[Any]) -> None:
        self.linears = tuple(linears)
        self._packed: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._exact = False

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return sum(int(linear.weight.numel()) for linear in self.linears)

    @property
    def packed(self) -> bool:
        """Whether a smaller copy is used."""
        return self._packed is not None

    def pack(self, form: Form) -> bool:
        """Keep a smaller copy of the weights and use that; whether there is one in this form.

        half: 16 bits, only where they hold every weight as it is; inputs, sums and outputs stay float32.
        eight_bit: rounded to 8 bits, one scale a row.
        """
        weight = torch.cat([linear.weight.detach() for linear in self.linears]).float()
        biases = [linear.bias for linear in self.linears]
        bias = None if biases[0] is None else torch.cat([bias.detach().float() for bias in biases])
        self._exact = form == "half"
        self._packed = _pack_half(weight, bias) if self._exact else _pack_eight_bit(weight, bias)
        return self.packed

    def unpack(self) -> None:
        """Use the whole weights again."""
        self._packed = None

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._packed is not None:
            return self._packed(inputs)
        outputs = [_apply(linear, inputs) for linear in self.linears]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)

    def read(self, inputs: torch.Tensor) -> torch.Tensor:
        """The same for the tokens of one prompt, whose rows belong together.

        Why not from 8 bits: many rows wait for arithmetic, not for weights, so rounding would gain nothing.
        """
        if self._packed is not None and self._exact:
            return self._packed(inputs)
        outputs = [_read_whole(linear, inputs) for linear in self.linears]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)

    def spans(self) -> list[tuple[Any, int, int]]:
        """Each linear layer with the beginning and the end of its part of the output."""
        found, start = [], 0
        for linear in self.linears:
            found.append((linear, start, start + int(linear.out_features)))
            start += int(linear.out_features)
        return found


def _pack_half(
    weight: torch.Tensor, bias: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """16-bit weights that are widened on the way into a float32 sum; None where they would lose something.

    Why at all: nearly all models are published in 16 bits, so a float32 copy is half zeros.
    Source: FBGEMM's half precision kernels, made for few rows; on x86 processors only. A row's bits do not
    depend on the rows beside it.
    """
    if not all(_fits_half(rows) for rows in weight.split(_ROWS)):
        return None
    packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)

    def apply(inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(inputs, packed)
        return output

    return apply


def _fits_half(weight: torch.Tensor) -> bool:
    return bool(weight.half().float().sub_(weight).abs_().le_(_TINY).all())


def _pack_eight_bit(
    weight: torch.Tensor, bias: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Symmetric rounding to int8, one scale a row (the format of `_weight_int8pack_mm`)."""
    # The scale is rounded first: then the integers make up for it.
    scale = (weight.abs().amax(1).clamp_min(1e-8) / 127).to(torch.bfloat16)
    whole = (weight / scale.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)

    def apply(inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.to(torch.bfloat16)
        output = torch.ops.aten._weight_int8pack_mm(rows, whole, scale).to(inputs.dtype)
        return output if bias is None else output + bias

    return apply


def _read_whole(linear: Any, inputs: torch.Tensor) -> torch.Tensor:
    """All rows at once, with the sums of float32.

    Why oneDNN's product: on an AMD processor MKL's, which a linear layer takes, is less than half as fast.
    """
    plain: torch.Tensor
    if inputs.dtype is torch.float32 and inputs.device.type == "cpu" and torch.backends.mkldnn.is_available():
        plain = torch.ops.mkldnn._linear_pointwise(inputs, linear.weight, linear.bias, "none", [], "")
    else:
        plain = linear(inputs)
    return plain


def _apply(linear: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Row by row on a CPU: each answer then has the very bits it has when it is given alone."""
    if inputs.shape[0] == 1 or inputs.device.type != "cpu":
        alone: torch.Tensor = linear(inputs)
        return alone
    return torch.cat([linear(row[None]) for row in inputs])

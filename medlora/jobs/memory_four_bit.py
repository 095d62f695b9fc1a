"""Linear layers that take as much memory as 4-bit ones do, for a trace: sizes are right, values are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class _UnpackedProduct(torch.autograd.Function):
    """A product with a weight that is unpacked for it, and again in the backward pass.

    Source: bitsandbytes 0.50, autograd/_functions.py: MatMul4Bit keeps nothing but the packed weight.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, packed: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        ctx.size = size
        ctx.dtype = rows.dtype
        return rows @ packed.new_empty(size, dtype=rows.dtype).t()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return outer[0] @ outer[0].new_empty(ctx.size, dtype=ctx.dtype), None, None


class FourBitLinear(nn.Linear):
    """A frozen layer whose weight is one tensor of packed bytes."""

    def __init__(self, like: nn.Linear, double_quant: bool) -> None:
        super().__init__(like.in_features, like.out_features, bias=False, device="meta")
        size = round(like.weight.numel() * packed_bytes(double_quant))
        packed = torch.empty(size, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = like.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        size = (self.out_features, self.in_features)
        if torch.is_autocast_enabled("cpu"):
            input = input.to(torch.get_autocast_dtype("cpu"))
        out: torch.Tensor = _UnpackedProduct.apply(input, self.weight, size)
        return out if self.bias is None else out + self.bias


def packed_bytes(double_quant: bool) -> float:
    """Bytes of one weight.

    Source: blocks of 64 with a 32-bit scale; double quantization keeps 8-bit scales in blocks of 256
    (QLoRA, section 3).
    """
    return 0.5 + (1 / 64 + 4 / 64 / 256 if double_quant else 4 / 64)


def replace_linears(model: nn.Module, *, double_quant: bool) -> None:
    """Every linear layer but the head, as transformers does for bitsandbytes."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child is not head:
                setattr(module, name, FourBitLinear(child, double_quant))

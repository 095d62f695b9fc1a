"""A frozen linear layer, or several with the same input, with their LoRA weights: one large product.

Why: autograd sees a LoRA layer as six products and as many copies of its input and output; written as one
step, the small products write straight into the large one's result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from medlora.training.kernels import Kernels


@dataclass(frozen=True)
class _Adapter:
    """The LoRA weights of one of the layers, and which columns of the fused result are its own."""

    layer: LoraLinear
    name: str
    columns: slice

    @property
    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """PEFT's own parameters, (rank, inputs) and (outputs, rank)."""
        return self.layer.lora_A[self.name].weight, self.layer.lora_B[self.name].weight

    @property
    def scale(self) -> float:
        return float(self.layer.scaling[self.name])

    @property
    def dropout_rate(self) -> float:
        dropout = self.layer.lora_dropout[self.name]
        return float(dropout.p) if isinstance(dropout, nn.Dropout) and dropout.training else 0.0


class Projection:
    """Linear layers that share their input, side by side."""

    def __init__(self, layers: Sequence[nn.Module], kernels: Kernels) -> None:
        """The layers keep their parameters, which become views of the fused ones: nothing is held twice."""
        bases = [_base(layer) for layer in layers]
        self.weight = _fuse([base.weight for base in bases])
        biases = [base.bias for base in bases if base.bias is not None]
        self.bias = _fuse(biases) if len(biases) == len(bases) else None
        self.kernels = kernels
        self.adapters: list[_Adapter] = []
        begin = 0
        for layer, base in zip(layers, bases, strict=True):
            if isinstance(layer, LoraLinear):
                columns = slice(begin, begin + base.weight.shape[0])
                self.adapters += [_Adapter(layer, name, columns) for name in layer.active_adapters]
            begin += base.weight.shape[0]

    def __call__(self, x: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
        """The layers' outputs side by side, added to `onto` if it is given.

        Shapes: x (tokens, inputs), onto and result (tokens, outputs).
        """
        rates = [adapter.dropout_rate for adapter in self.adapters]
        seeds = torch.randint(2**31 - 1, (len(rates),), dtype=torch.int32) if any(rates) else None
        step = _Step(self, rates, seeds)
        weights = [weight for adapter in self.adapters for weight in adapter.weights]
        out: torch.Tensor = _Project.apply(x, onto, step, *weights)
        return out


@dataclass(frozen=True)
class _Step:
    """One use of a projection: the dropout of each adapter and the seed it was drawn with."""

    projection: Projection
    rates: list[float]
    seeds: torch.Tensor | None

    def dropped(self, x: torch.Tensor, number: int) -> torch.Tensor:
        if self.seeds is None or not self.rates[number]:
            return x
        out: torch.Tensor = self.projection.kernels.drop(x, self.seeds[number], self.rates[number])
        return out

    def add_input_gradient(
        self, gradient: torch.Tensor, g_rank: torch.Tensor, down: torch.Tensor, number: int
    ) -> torch.Tensor:
        """What reaches the input through one adapter, dropout included, added to what reaches it already."""
        if self.seeds is None or not self.rates[number]:
            return gradient.addmm_(g_rank, down)
        kernels, seed = self.projection.kernels, self.seeds[number]
        out: torch.Tensor = kernels.drop_back(gradient, g_rank @ down, seed, self.rates[number])
        return out


class _Project(torch.autograd.Function):
    """Why the inputs are dropped anew in the backward pass: the mask costs less than the memory for it."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, onto: torch.Tensor | None, step: _Step, *weights: torch.Tensor
    ) -> torch.Tensor:
        projection = step.projection
        transposed = projection.weight.t()
        if onto is not None:
            out = torch.addmm(onto, x, transposed)
            if projection.bias is not None:
                out += projection.bias
        else:
            out = nn.functional.linear(x, projection.weight, projection.bias)
        kept = []
        for number, adapter in enumerate(projection.adapters):
            down = weights[2 * number].to(x.dtype)
            up = (weights[2 * number + 1] * adapter.scale).to(x.dtype)
            rank = step.dropped(x, number) @ down.t()
            out[:, adapter.columns].addmm_(rank, up.t())
            kept += [down, up, rank]
        ctx.save_for_backward(x, *kept)
        ctx.step, ctx.has_onto = step, onto is not None
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        (gradient,) = gradients
        x, *kept = ctx.saved_tensors
        step: _Step = ctx.step
        g_x = gradient @ step.projection.weight if ctx.needs_input_grad[0] else None
        g_weights: list[torch.Tensor] = []
        for number, adapter in enumerate(step.projection.adapters):
            down, up, rank = kept[3 * number : 3 * number + 3]
            own = gradient[:, adapter.columns]
            g_rank = own @ up
            g_up = (own.t() @ rank).float().mul_(adapter.scale)
            g_down = (g_rank.t() @ step.dropped(x, number)).float()
            first, second = adapter.weights
            g_weights += [g_down.to(first.dtype), g_up.to(second.dtype)]
            if g_x is not None:
                g_x = step.add_input_gradient(g_x, g_rank, down, number)
        onto = gradient if ctx.has_onto and ctx.needs_input_grad[1] else None
        return g_x, onto, None, *g_weights


def why_not_fused(layer: nn.Module) -> str | None:
    """What keeps a layer from being part of a projection, or None."""
    base = layer.base_layer if isinstance(layer, LoraLinear) else layer
    if type(base) is not nn.Linear or (type(layer) is not LoraLinear and base is not layer):
        return f"a layer is a {type(base if base is not layer else layer).__name__}"
    if any(parameter.requires_grad for parameter in base.parameters()):
        return "a layer of the base model is trained itself"
    if not isinstance(layer, LoraLinear):
        return None
    if layer.lora_variant or any(layer.lora_bias.values()):
        return "the adapter is more than plain LoRA"
    if layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
        return "not exactly one adapter is active"
    return None


def _base(layer: nn.Module) -> nn.Linear:
    base = layer.base_layer if isinstance(layer, LoraLinear) else layer
    assert isinstance(base, nn.Linear)
    return base


def _fuse(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The parts under each other in one tensor, of which they become views."""
    if len(parts) == 1:
        return parts[0].data
    whole = torch.cat([part.data for part in parts], 0)
    begin = 0
    for part in parts:
        part.data = whole[begin : begin + part.shape[0]]
        begin += part.shape[0]
    return whole

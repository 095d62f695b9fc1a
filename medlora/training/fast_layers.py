"""Decoder layers for a CPU: few large products, the arithmetic between them in single passes.

Why not the library's layers: for short sequences most of their time goes into copies, small products and
passes over memory. The parameters stay where PEFT put them, so that adapters are saved as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from medlora.training.fast_attention import SequenceAttention
from medlora.training.fast_projection import Projection, why_not_fused
from medlora.training.kernels import Kernels
from medlora.training.sharding import is_sharded

# Architectures whose fused layers are proven against the library's own in tests/golden.
FAST_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3", "mistral", "phi3"})
_SPLIT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_FUSED = (("qkv_proj",), ("gate_up_proj",))


class _Norm(torch.autograd.Function):
    """(x + change, its RMS norm); both gradients meet in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        change: torch.Tensor | None,
        weight: torch.Tensor,
        epsilon: float,
        kernels: Kernels,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if change is None:
            total = x.view_as(x)
            normed, factor = kernels.normalise(x.detach(), weight.detach(), epsilon)
        else:
            total, normed, factor = kernels.add_and_normalise(
                x.detach(), change.detach(), weight.detach(), epsilon
            )
        ctx.save_for_backward(total, weight, factor)
        ctx.kernels = kernels
        return total, normed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total, weight, factor = ctx.saved_tensors
        reached = ctx.kernels.normalise_back(*gradients, total.detach(), weight.detach(), factor)
        return reached, reached if ctx.needs_input_grad[1] else None, None, None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        ctx.save_for_backward(gate_up)
        ctx.kernels = kernels
        out: torch.Tensor = kernels.gate(gate_up.detach())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gate_up,) = ctx.saved_tensors
        return ctx.kernels.gate_back(gradients[0], gate_up.detach()), None


class _Attention(torch.autograd.Function):
    """From queries, keys and values side by side to what each token sees; positions are turned in between."""

    @staticmethod
    def forward(
        ctx: Any,
        mixed: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        groups: int,
        attention: SequenceAttention,
    ) -> torch.Tensor:
        """Shapes: mixed (tokens, heads + 2 * groups, head_dim); result (tokens, heads, head_dim)."""
        turning = mixed.detach()[:, :-groups]
        turned = attention.kernels.rotate(turning, cosine, sine)
        queries, keys = turned[:-groups], turned[-groups:]
        values = mixed.detach()[:, -groups:].transpose(0, 1).contiguous()
        out, kept = attention.forward(queries, keys, values)
        ctx.save_for_backward(turned, values, cosine, sine, *kept)
        ctx.attention = attention
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        turned, values, cosine, sine, *kept = ctx.saved_tensors
        groups = values.shape[0]
        parts = (turned[:-groups], turned[-groups:], values)
        g_turned, g_values = ctx.attention.backward(gradients[0], parts, kept)
        mixed = ctx.attention.kernels.rotate_back(g_turned, g_values, cosine, sine)
        return mixed, None, None, None, None


class FastLayer:
    """One decoder layer's parts, arranged for flat rows; anything else goes to the library's forward."""

    def __init__(self, layer: Any, kernels: Kernels) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        into_attention, into_mlp = _inputs_of(layer)
        self._kernels = kernels
        self._mix = Projection([getattr(attention, name) for name in into_attention], kernels)
        self._out = Projection([attention.o_proj], kernels)
        self._gate_up = Projection([getattr(mlp, name) for name in into_mlp], kernels)
        self._down = Projection([mlp.down_proj], kernels)
        self._first_norm, self._second_norm = layer.input_layernorm, layer.post_attention_layernorm
        self._head_norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        self._head_dim = attention.head_dim
        self._groups = attention.config.num_key_value_heads
        self._scale = float(attention.scaling)
        self._stock = layer.forward

    def forward(self, hidden_states: torch.Tensor, **settings: Any) -> torch.Tensor:
        """Shapes: hidden_states and result (1, tokens, width)."""
        borders = settings.get("borders")
        if borders is None:
            stock: torch.Tensor = self._stock(hidden_states, **settings)
            return stock
        with torch.autocast("cpu", enabled=False):
            x = hidden_states[0]
            residual, normed = self._normalise(x, None, self._first_norm)
            cosine, sine = settings["position_embeddings"]
            layout = SequenceAttention(tuple(borders), self._scale, self._kernels)
            mixed = self._mix(normed).view(len(x), -1, self._head_dim)
            seen = _Attention.apply(self._norm_heads(mixed), cosine[0], sine[0], self._groups, layout)
            attended = self._out(seen.view(len(x), -1))
            residual, normed = self._normalise(residual, attended, self._second_norm)
            opened = _Gate.apply(self._gate_up(normed), self._kernels)
            return self._down(opened, onto=residual)[None]

    def _normalise(
        self, x: torch.Tensor, change: torch.Tensor | None, norm: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total, normed = _Norm.apply(x, change, norm.weight, norm.variance_epsilon, self._kernels)
        return total, normed

    def _norm_heads(self, mixed: torch.Tensor) -> torch.Tensor:
        """Queries and keys normalised head by head, where the architecture does so (Qwen 3)."""
        of_queries, of_keys = self._head_norms
        if of_queries is None or of_keys is None:
            return mixed
        groups = self._groups
        queries, keys, values = mixed.split([mixed.shape[1] - 2 * groups, groups, groups], 1)
        _, queries = self._normalise(queries, None, of_queries)
        _, keys = self._normalise(keys, None, of_keys)
        return torch.cat([queries, keys, values], 1)


def why_not_fast(model: PeftModel) -> str | None:
    """What keeps this model's layers from being replaced, or None."""
    base: Any = model.get_base_model()
    config = base.config
    if is_sharded(base):
        return "the base model is sharded"
    if config.model_type not in FAST_ARCHITECTURES or config.hidden_act != "silu":
        return f"there are none for the architecture {config.model_type}"
    if any(getattr(config, name, 0.0) for name in ("attention_dropout", "resid_pdrop")):
        return "it drops out parts of its own layers"
    for layer in base.get_decoder().layers:
        for module in _linears(layer):
            reason = why_not_fused(module)
            if reason is not None:
                return reason
        norms = [child for name, child in layer.named_modules() if name.endswith("norm")]
        if any(parameter.requires_grad for norm in norms for parameter in norm.parameters()):
            return "its norms are trained themselves"
    return None


def use_fast_layers(model: PeftModel, kernels: Kernels) -> None:
    """Give every decoder layer the fast forward for flat rows; see `use_stock_layers`."""
    base: Any = model.get_base_model()
    for layer in base.get_decoder().layers:
        layer.forward = partial(FastLayer.forward, FastLayer(layer, kernels))


def use_stock_layers(model: PeftModel) -> None:
    """Back to the library's own forward."""
    base: Any = model.get_base_model()
    for layer in base.get_decoder().layers:
        vars(layer).pop("forward", None)


@contextmanager
def stock_layers(model: PeftModel) -> Iterator[None]:
    """The library's own forward for as long as the context lasts."""
    base: Any = model.get_base_model()
    fast = [vars(layer).pop("forward", None) for layer in base.get_decoder().layers]
    try:
        yield
    finally:
        for layer, forward in zip(base.get_decoder().layers, fast, strict=True):
            if forward is not None:
                layer.forward = forward


def _inputs_of(layer: Any) -> tuple[Sequence[str], Sequence[str]]:
    """The names of the projections into attention and into the MLP."""
    return _FUSED if hasattr(layer.self_attn, "qkv_proj") else _SPLIT


def _linears(layer: Any) -> list[nn.Module]:
    into_attention, into_mlp = _inputs_of(layer)
    attention = [getattr(layer.self_attn, name) for name in (*into_attention, "o_proj")]
    return attention + [getattr(layer.mlp, name) for name in (*into_mlp, "down_proj")]

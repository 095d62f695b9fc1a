"""The arithmetic between the large products, element by element: each step with its own derivative.

Why: outside the matrix products a training step on a CPU is bound by memory. torch.compile makes one pass
over memory of what takes eager torch five to ten; the functions are the same either way.
All of them compute in float32 and give back the precision they were given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medlora.workspace import make_private

_NOT_MINUS = 0x7FFFFFFF


def normalise(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """RMS norm over the last dimension, and the factor of every row."""
    wide = x.float()
    factor = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return (wide * factor).to(x.dtype) * weight, factor


def add_and_normalise(
    x: torch.Tensor, change: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum, its RMS norm, and the factor of every row."""
    total = x + change
    return total, *normalise(total, weight, epsilon)


def normalise_back(
    g_total: torch.Tensor,
    g_normed: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    factor: torch.Tensor,
) -> torch.Tensor:
    """What reaches the sum: its own gradient and the one that comes through the norm."""
    inner = g_normed.float() * weight.float()
    unit = total.float() * factor
    through = (inner - unit * (inner * unit).mean(-1, keepdim=True)) * factor
    return (g_total.float() + through).to(total.dtype)


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """SiLU of the first half, times the second. Shapes: (tokens, 2 * inner) to (tokens, inner)."""
    gates, ups = gate_up.float().chunk(2, -1)
    return (gates * torch.sigmoid(gates) * ups).to(gate_up.dtype)


def gate_back(gradient: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """Why each half is cut down by itself: compiled, one pass then makes both; twice as fast in 16 bits."""
    gates, ups = gate_up.float().chunk(2, -1)
    wide = gradient.float()
    open_ = torch.sigmoid(gates)
    silu = gates * open_
    to_gates = wide * ups * (open_ + silu * (1 - open_))
    return torch.cat([to_gates.to(gate_up.dtype), (wide * silu).to(gate_up.dtype)], -1)


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions on the first part of each head, head by head.

    Shapes: x (tokens, heads, head_dim), cosine and sine (tokens, rotary_dim);
    result (heads, tokens, head_dim).
    """
    width = cosine.shape[-1]
    half = width // 2
    wide = x.transpose(0, 1).float()
    one, two = wide[..., :half], wide[..., half:width]
    c, s = cosine.float(), sine.float()
    turned = [one * c[:, :half] - two * s[:, :half], two * c[:, half:] + one * s[:, half:], wide[..., width:]]
    return torch.cat(turned, -1).to(x.dtype)


def rotate_back(
    g_turned: torch.Tensor, g_values: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> torch.Tensor:
    """The gradient of the projection from those of its heads, values included.

    Shapes: g_turned (heads, tokens, head_dim), g_values (kv_heads, tokens, head_dim);
    result (tokens, heads + kv_heads, head_dim).
    """
    width = cosine.shape[-1]
    half = width // 2
    wide = g_turned.transpose(0, 1).float()
    one, two = wide[..., :half], wide[..., half:width]
    c, s = cosine.float()[:, None], sine.float()[:, None]
    back = [
        one * c[..., :half] + two * s[..., half:],
        two * c[..., half:] - one * s[..., :half],
        wide[..., width:],
    ]
    return torch.cat([torch.cat(back, -1).to(g_values.dtype), g_values.transpose(0, 1)], 1)


def causal_softmax(scores: torch.Tensor, scale: float) -> torch.Tensor:
    """Row i of the last n rows of a sequence sees all keys but the n - 1 - i last ones.

    Shapes: scores and result (kv_heads, group, n, keys).
    """
    rows, keys = scores.shape[-2:]
    seen = torch.arange(keys)[None] <= torch.arange(keys - rows, keys)[:, None]
    return torch.softmax(torch.where(seen, scores.float() * scale, float("-inf")), -1).to(scores.dtype)


def softmax_back(gradient: torch.Tensor, chances: torch.Tensor, scale: float) -> torch.Tensor:
    wide = chances.float()
    product = wide * gradient.float()
    return ((product - wide * product.sum(-1, keepdim=True)) * scale).to(gradient.dtype)


def keep_mask(x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    """A factor for each number of x: zero at that rate, else 1 / (1 - rate).

    Why from a hash of the place and a seed: nothing is kept for the backward pass, which asks again, and
    the same seed gives the same mask wherever the run is resumed.
    Source: the finaliser of MurmurHash3 (public domain).
    """
    columns = x.shape[-1]
    place = torch.arange(x.shape[0], dtype=torch.int32)[:, None] * columns
    mixed = place + torch.arange(columns, dtype=torch.int32) + seed
    for shift, factor in ((16, -2048144789), (13, -1028477387), (16, 1)):
        mixed = (mixed ^ ((mixed >> shift) & (0xFFFFFFFF >> shift))) * factor
    return ((mixed & _NOT_MINUS) >= int(rate * 2**31)).float() * (1 / (1 - rate))


def drop(x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    """Dropout of x with the mask of that seed."""
    return (x.float() * keep_mask(x, seed, rate)).to(x.dtype)


def drop_back(gradient: torch.Tensor, change: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    """The gradient plus what comes back through the dropout of that seed."""
    return (gradient.float() + change.float() * keep_mask(change, seed, rate)).to(gradient.dtype)


def log_normaliser(logits: torch.Tensor) -> torch.Tensor:
    """The logarithm of the sum of exponentials of every row, in float32."""
    return torch.logsumexp(logits.float(), -1)


def probabilities(logits: torch.Tensor, normaliser: torch.Tensor) -> torch.Tensor:
    """The logits' probabilities, written over the logits."""
    return logits.copy_(torch.exp(logits.float() - normaliser[:, None]))


_ALL = (
    normalise,
    add_and_normalise,
    normalise_back,
    gate,
    gate_back,
    rotate,
    rotate_back,
    causal_softmax,
    softmax_back,
    drop,
    drop_back,
    log_normaliser,
    probabilities,
)


@dataclass(frozen=True)
class Kernels:
    """The functions of this module, as they are or compiled."""

    normalise: Callable[..., Any]
    add_and_normalise: Callable[..., Any]
    normalise_back: Callable[..., Any]
    gate: Callable[..., Any]
    gate_back: Callable[..., Any]
    rotate: Callable[..., Any]
    rotate_back: Callable[..., Any]
    causal_softmax: Callable[..., Any]
    softmax_back: Callable[..., Any]
    drop: Callable[..., Any]
    drop_back: Callable[..., Any]
    log_normaliser: Callable[..., Any]
    probabilities: Callable[..., Any]


EAGER = Kernels(*_ALL)


def compile_kernels(cache: Path) -> Kernels:
    """The functions compiled for any shape, on their first call; what the compiler made is kept in `cache`.

    Raises, on a first call: RuntimeError where there is no C++ compiler or it fails.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(make_private(cache))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    return Kernels(*(torch.compile(function, dynamic=True, fullgraph=True) for function in _ALL))

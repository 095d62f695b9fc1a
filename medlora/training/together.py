"""Causal attention of sequences that lie end to end, all of them in one call of a GPU's flash kernel.

Why: one call for each sequence in each layer leaves a GPU waiting for the processor that makes the calls.
torch has the call from 2.11 on in the form that is needed here; before, the sequences go one by one.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch


def _find() -> tuple[Callable[..., Any] | None, bool]:
    """torch's own call, and whether it lets several heads of the query share one of the keys."""
    try:
        found = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    except (ImportError, AttributeError):
        return None, False
    names = inspect.signature(found).parameters
    return (found, "enable_gqa" in names) if {"window_size", "scale"} <= names.keys() else (None, False)


_VARLEN, _SHARES_HEADS = _find()
_CAUSAL = (-1, 0)


def is_offered() -> bool:
    """Whether this torch has the call; whether a kernel takes the tensors is another question."""
    return _VARLEN is not None


def attend_together(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scale: float,
) -> torch.Tensor:
    """What each token sees of its own sequence up to itself.

    Shapes: query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim), in 16 bits on
    a GPU; starts (sequences + 1,), int32, on that GPU; result (1, tokens, heads, head_dim).
    longest: tokens of the longest sequence.
    """
    assert _VARLEN is not None
    times = query.shape[1] // key.shape[1]
    if times > 1 and not _SHARES_HEADS:
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    rows = [part.squeeze(0).transpose(0, 1) for part in (query, key, value)]
    shared = {"enable_gqa": times > 1} if _SHARES_HEADS else {}
    seen: torch.Tensor = _VARLEN(
        *rows, starts, starts, longest, longest, scale=scale, window_size=_CAUSAL, **shared
    )
    return seen.unsqueeze(0)

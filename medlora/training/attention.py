"""Attention over sequences that lie end to end in one row, each seeing only itself.

Why: padding is work thrown away (half of it in a typical batch of answers). A flat row has none, and each
sequence attends to itself alone, so the result equals the padded path.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from medlora.training.fast_attention import SequenceAttention, attend
from medlora.training.kernels import EAGER
from medlora.training.together import attend_together, is_offered

FLAT_ATTENTION = "medlora_flat"

# Architectures whose flat path is proven against the padded one in tests/golden.
FLAT_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3", "mistral", "phi3"})


def flat_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention per sequence when `borders` says where each begins, else the stock path.

    Shapes: query (1, heads, tokens, head_dim), key and value (1, kv_heads, tokens, head_dim),
    borders (sequences + 1,), plain numbers; result (1, tokens, heads, head_dim). Where the batch tells the
    borders as flash attention takes them too (`cu_seq_lens_q`), a GPU attends to all sequences in one call.
    """
    borders = kwargs.pop("borders", None)
    starts, longest = (kwargs.pop(name, None) for name in ("cu_seq_lens_q", "max_length_q"))
    if borders is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    dropout = kwargs.get("dropout", 0.0)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if query.device.type == "cpu" and not dropout:
        attention = SequenceAttention(tuple(borders), scale, EAGER)
        return attend(query[0], key[0], value[0], attention)[None], None
    if starts is not None and not dropout and is_offered() and _takes_flash(query, key, value, dropout):
        return attend_together(query, key, value, starts, longest, scale), None
    key, value, grouped = _fit_heads(query, key, value, dropout)
    pieces = [
        F.scaled_dot_product_attention(
            query[:, :, begin:end],
            key[:, :, begin:end],
            value[:, :, begin:end],
            is_causal=True,
            scale=scale,
            dropout_p=dropout,
            enable_gqa=grouped,
        )
        for begin, end in itertools.pairwise(borders)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2).contiguous(), None


def _fit_heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Keys and values for the kernel that will run, and whether several heads of the query share one.

    Why repeated on some GPUs: only the flash kernel, which starts with Ampere, takes shared heads. Without
    it torch would fall back to writing out and keeping every attention weight: gigabytes in each layer.
    """
    times = query.shape[1] // key.shape[1]
    if times == 1 or query.device.type == "cpu":
        return key, value, times > 1
    if _takes_flash(query, key, value, dropout):
        return key, value, True
    return key.repeat_interleave(times, 1), value.repeat_interleave(times, 1), False


def _takes_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float) -> bool:
    """Whether torch's flash kernel takes these: a GPU from Ampere on, 16 bits, heads not too wide."""
    shared = query.shape[1] != key.shape[1]
    return query.device.type == "cuda" and can_use_flash_attention(
        SDPAParams(query, key, value, None, dropout, True, shared)
    )


def _flat_mask(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor | None:
    """No mask for a flat row; a padding mask is turned into the stock one."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def register_flat_attention() -> str:
    """Make the implementation known to transformers; the name to load a model with."""
    AttentionInterface.register(FLAT_ATTENTION, flat_attention)
    AttentionMaskInterface.register(FLAT_ATTENTION, _flat_mask)
    return FLAT_ATTENTION


def flat_is_proven(model_config: Mapping[str, Any], longest: int) -> bool:
    """Whether the flat path may be used for that architecture and sequences of at most `longest` tokens.

    Why: a sliding window shorter than a sequence would be ignored by the flat path.
    """
    if model_config.get("model_type") not in FLAT_ARCHITECTURES:
        return False
    window = model_config.get("sliding_window")
    windowed = isinstance(window, int) and model_config.get("use_sliding_window", True)
    return not (windowed and longest > int(window or 0))

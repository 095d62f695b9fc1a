"""Cross entropy at label positions only, in chunks, without the full logits.

Why: only the assistant's words are trained on, yet a stock loss computes logits for every token; with a
vocabulary of 200,000 they are most of the memory of a step.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from medlora.training.kernels import EAGER, Kernels

IGNORED = -100
_CHUNK_BYTES = 256 * 2**20
# On a CPU smaller chunks stay nearer to its caches, and the peak is lower.
_CPU_CHUNK_BYTES = 64 * 2**20

# Settings by which an architecture changes its logits after the head; our loss would not see that.
_LOGIT_CHANGES = ("final_logit_softcapping", "logits_scaling", "logit_scale", "mup_width_multiplier")


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross entropy over all rows, divided by `denominator`; the head is frozen.

    Why: the gradient of the hidden states is formed chunk by chunk in the forward pass, while the chunk's
    logits exist, so neither pass ever holds the logits of the whole batch. One piece of memory serves all
    chunks: fetching fresh pages from the system takes longer than the arithmetic in them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        head: torch.Tensor,
        labels: torch.Tensor,
        denominator: float,
        kernels: Kernels,
    ) -> torch.Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wants_gradient else hidden.new_empty(0)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        budget = _CPU_CHUNK_BYTES if hidden.device.type == "cpu" else _CHUNK_BYTES
        chunk = max(16, budget // (4 * head.shape[0]))
        room = hidden.new_empty(min(chunk, hidden.shape[0]), head.shape[0])
        for begin in range(0, hidden.shape[0], chunk):
            rows, targets = hidden[begin : begin + chunk], labels[begin : begin + chunk]
            logits = torch.mm(rows, head.t(), out=room[: len(rows)])
            normaliser = kernels.log_normaliser(logits)
            total += (normaliser - logits.gather(1, targets[:, None])[:, 0].float()).sum()
            if wants_gradient:
                chances = kernels.probabilities(logits, normaliser)
                chances[torch.arange(len(targets), device=targets.device), targets] -= 1
                torch.mm(chances, head, out=gradient[begin : begin + chunk])
        ctx.save_for_backward(gradient)
        ctx.denominator = denominator
        return total / denominator

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Why in float32: a gradient already divided by thousands of labels would vanish in float16."""
        (gradient,) = ctx.saved_tensors
        return (gradient.float() * (outer[0] / ctx.denominator)).to(gradient.dtype), None, None, None, None


def label_loss(
    hidden: torch.Tensor,
    head: torch.Tensor,
    shift_labels: torch.Tensor,
    denominator: float | None = None,
    kernels: Kernels = EAGER,
) -> torch.Tensor:
    """Cross entropy of the label positions, divided by `denominator` (their number by default).

    Shapes: hidden (batch, tokens, width), head (vocabulary, width), shift_labels (batch, tokens), where
    shift_labels[b, t] is the token that position t should predict, or -100; result ().
    """
    keep = (shift_labels != IGNORED).reshape(-1)
    rows = hidden.reshape(-1, hidden.shape[-1])[keep].to(head.dtype)
    targets = shift_labels.reshape(-1)[keep]
    return chunked_loss(rows, head, targets, denominator, kernels)


def chunked_loss(
    rows: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    denominator: float | None = None,
    kernels: Kernels = EAGER,
) -> torch.Tensor:
    """The same for label positions that were already picked out: rows (labels, width), targets (labels,)."""
    divisor = denominator or max(len(targets), 1)
    loss: torch.Tensor = _ChunkedCrossEntropy.apply(rows, head, targets, divisor, kernels)
    return loss


def stock_loss(
    logits: torch.Tensor, shift_labels: torch.Tensor, denominator: float | None = None
) -> torch.Tensor:
    """The same loss from full logits, for architectures that change their logits after the head."""
    flat = shift_labels.reshape(-1)
    summed = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), flat, ignore_index=IGNORED, reduction="sum"
    )
    return summed / (denominator or max(int((flat != IGNORED).sum()), 1))


def head_is_plain(model: Any) -> bool:
    """Whether the logits are nothing but `hidden @ head.T` with a frozen head, as our loss assumes.

    Why by its forward: a sharded head is of a class of its own that computes as nn.Linear does.
    """
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if any(getattr(text, name, None) not in (None, 1, 1.0) for name in _LOGIT_CHANGES):
        return False
    head: Any = model.get_output_embeddings()
    plain = isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward
    return plain and getattr(head, "bias", None) is None and not head.weight.requires_grad

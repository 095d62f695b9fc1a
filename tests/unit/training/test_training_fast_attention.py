"""Attention as batched products against torch's own, for short, long and very long sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from medlora.training.fast_attention import SequenceAttention, attend
from medlora.training.kernels import EAGER

pytestmark = pytest.mark.torch


def stock(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, borders: tuple[int, ...]
) -> torch.Tensor:
    pieces = [
        F.scaled_dot_product_attention(
            queries[None, :, begin:end],
            keys[None, :, begin:end],
            values[None, :, begin:end],
            is_causal=True,
            scale=0.3,
            enable_gqa=True,
        )[0]
        for begin, end in itertools.pairwise(borders)
    ]
    return torch.cat(pieces, 1).transpose(0, 1)


@pytest.mark.parametrize(
    "borders",
    [(0, 1, 30, 31, 90), (0, 300, 310), (0, 700), (0, 20, 41, 59, 80), (0, 40, 75, 80, 380, 418, 600)],
)
@pytest.mark.parametrize("heads", [(6, 2), (3, 3)])
def test_results_and_gradients_equal_those_of_torch(borders: tuple[int, ...], heads: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(borders[-1], count, 8, generator=generator, requires_grad=True)
        for count in (heads[0], heads[1], heads[1])
    ]
    parts = [part.transpose(0, 1) for part in drawn]  # as the library's layers hand them on
    outcomes = []
    for out in (attend(*parts, SequenceAttention(borders, 0.3, EAGER)), stock(*parts, borders)):
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        outcomes.append((out, *torch.autograd.grad(out, drawn, weights, retain_graph=True)))
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)

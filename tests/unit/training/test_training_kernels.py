"""The arithmetic of the fast path against torch's own derivatives of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from medlora.training import kernels

pytestmark = pytest.mark.torch
close: Callable[..., None] = torch.testing.assert_close


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def derivative(out: torch.Tensor, inputs: Sequence[torch.Tensor], gradient: torch.Tensor) -> Any:
    return torch.autograd.grad(out, inputs, gradient)


def test_the_norm_has_the_derivative_that_torch_finds() -> None:
    x, change, weight = numbers(7, 12).requires_grad_(), numbers(7, 12), numbers(12)
    total, normed, factor = kernels.add_and_normalise(x, change, weight, 1e-5)
    g_total, g_normed = numbers(7, 12), numbers(12, 7).t()
    (expected,) = torch.autograd.grad((total, normed), x, (g_total, g_normed))
    close(kernels.normalise_back(g_total, g_normed, total, weight, factor), expected)
    close(normed, torch.nn.functional.rms_norm(x + change, (12,), weight, 1e-5))


def test_the_gate_has_the_derivative_that_torch_finds() -> None:
    x, gradient = numbers(7, 24).requires_grad_(), numbers(7, 12)
    (expected,) = derivative(kernels.gate(x), [x], gradient)
    close(kernels.gate_back(gradient, x), expected)


@pytest.mark.parametrize("rotary", [8, 6])
def test_rotary_positions_have_the_derivative_that_torch_finds(rotary: int) -> None:
    x, values = numbers(5, 4, 8).requires_grad_(), numbers(5, 2, 8).requires_grad_()
    cosine, sine = numbers(5, rotary), numbers(rotary, 5).t()
    turned = kernels.rotate(x, cosine, sine)
    g_turned, g_values = numbers(4, 5, 8), numbers(2, 5, 8)
    expected = torch.autograd.grad((turned, values.transpose(0, 1)), (x, values), (g_turned, g_values))
    close(kernels.rotate_back(g_turned, g_values, cosine, sine), torch.cat(expected, 1))


def test_the_softmax_sees_no_later_key_and_has_the_derivative_that_torch_finds() -> None:
    scores, gradient = numbers(2, 3, 4, 9).requires_grad_(), numbers(3, 2, 4, 9).transpose(0, 1)
    chances = kernels.causal_softmax(scores, 0.5)
    assert [int(count) for count in (chances[0, 0] > 0).sum(-1)] == [6, 7, 8, 9]
    (expected,) = derivative(chances, [scores], gradient)
    close(kernels.softmax_back(gradient, chances, 0.5), expected)


def test_dropout_keeps_the_asked_share_and_each_seed_another() -> None:
    x = torch.ones(400, 500)
    masks = [kernels.drop(x, torch.tensor(seed, dtype=torch.int32), 0.1) for seed in (1, 2, 1)]
    assert torch.equal(masks[0], masks[2])
    kept = [mask > 0 for mask in masks]
    for mask in kept[:2]:
        assert float(mask.float().mean()) == pytest.approx(0.9, abs=0.003)
        assert float(mask.float().mean(0).std()) == pytest.approx((0.09 / 400) ** 0.5, rel=0.15)
        assert float(mask.float().mean(1).std()) == pytest.approx((0.09 / 500) ** 0.5, rel=0.15)
    both = float((kept[0] & kept[1]).float().mean())
    assert both == pytest.approx(0.81, abs=0.005)
    close(masks[0][kept[0]], torch.full_like(masks[0][kept[0]], 1 / 0.9))


def test_what_dropout_took_away_gets_no_gradient() -> None:
    seed = torch.tensor(5, dtype=torch.int32)
    x, gradient = numbers(6, 8).requires_grad_(), numbers(8, 6).t()
    (expected,) = derivative(kernels.drop(x, seed, 0.5), [x], gradient)
    close(kernels.drop_back(torch.zeros(6, 8), gradient, seed, 0.5), expected)

"""Tokens are chosen as the settings say, and the same way each time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from medlora.inference.protocol import RequestError, Sampling
from medlora.inference.sampling import Sampler

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


def _sampler(
    vocabulary: int = 1000, prompt: tuple[int, ...] = (1, 2), **settings: float | int | None
) -> Sampler:
    return Sampler(Sampling(**settings), list(prompt), vocabulary, CPU)  # type: ignore[arg-type]


def _logits(seed: int = 0, vocabulary: int = 1000, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def test_temperature_zero_takes_the_likeliest_token() -> None:
    assert _sampler(temperature=0.0).choose(_logits()) == int(_logits().argmax())


def test_the_same_seed_draws_the_same_tokens() -> None:
    draws = [
        [sampler.choose(_logits(step)) for step in range(30)]
        for sampler in (
            _sampler(temperature=1.0, top_p=0.9, seed=7),
            _sampler(temperature=1.0, top_p=0.9, seed=7),
        )
    ]
    assert draws[0] == draws[1]
    other = _sampler(temperature=1.0, top_p=0.9, seed=8)
    assert [other.choose(_logits(step)) for step in range(30)] != draws[0]


def test_without_a_seed_each_answer_has_one_of_its_own() -> None:
    assert _sampler(temperature=1.0, seed=None).seed != _sampler(temperature=1.0, seed=None).seed


@pytest.mark.parametrize("scale", [0.2, 3.0], ids=["flat", "peaked"])
def test_only_the_nucleus_is_drawn_from(scale: float) -> None:
    logits = _logits(scale=scale)
    allowed = torch.isfinite(TopPLogitsWarper(0.8)(None, logits[None]))[0].nonzero().flatten().tolist()
    sampler = _sampler(temperature=1.0, top_p=0.8, seed=1)
    drawn = {sampler.choose(logits) for _ in range(2000)}
    assert drawn <= set(allowed)
    assert len(drawn) > len(allowed) // 2


def test_a_nucleus_of_one_token_still_draws_it() -> None:
    assert _sampler(temperature=1.0, top_p=1e-6, seed=3).choose(_logits()) == int(_logits().argmax())


def test_frequencies_follow_the_probabilities() -> None:
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1]))
    sampler = _sampler(vocabulary=3, prompt=(0,), temperature=1.0, top_p=1.0, seed=5)
    counts = torch.bincount(torch.tensor([sampler.choose(logits) for _ in range(4000)]), minlength=3) / 4000
    assert torch.allclose(counts, torch.tensor([0.7, 0.2, 0.1]), atol=0.03)


def test_the_repetition_penalty_is_that_of_transformers_over_prompt_and_answer() -> None:
    ours = _sampler(prompt=(5, 900), temperature=0.0, repetition_penalty=1.8)
    theirs, ids = RepetitionPenaltyLogitsProcessor(1.8), [5, 900]
    for step in range(20):
        logits = _logits(0) + 0.01 * step
        expected = int(theirs(torch.tensor([ids]), logits[None].clone())[0].argmax())
        assert ours.choose(logits) == expected
        ids.append(expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_not_finite_are_named_as_the_cause(temperature: float) -> None:
    with pytest.raises(RequestError) as refused:
        _sampler(temperature=temperature).choose(torch.full((1000,), torch.nan))
    assert str(refused.value) == (
        "adapter: its weights give numbers that are not finite; it is damaged, choose another one"
    )


class _OnAnAppleGpu(torch.Tensor):
    """A tensor that, like one on an Apple GPU, cannot be widened to float64 where it is."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls) and result.dtype is torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result


def test_on_a_gpu_without_float64_the_same_seed_draws_the_same_token() -> None:
    here, there = _sampler(temperature=1.0, seed=7), _sampler(temperature=1.0, seed=7)
    assert there.choose(_logits().as_subclass(_OnAnAppleGpu)) == here.choose(_logits())

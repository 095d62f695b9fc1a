"""The label-only loss against torch's own, values and gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DataCollatorWithFlattening

from medlora.training import loss as loss_module
from medlora.training.collate import FlatCollator, PaddedCollator, count_tokens, flat_collator
from medlora.training.loss import head_is_plain, label_loss, stock_loss

pytestmark = pytest.mark.torch
WIDTH, VOCABULARY, TOKENS = 12, 40, 30


def draw(seed: int = 0) -> tuple[Any, Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, TOKENS, WIDTH, generator=generator, requires_grad=True)
    head = torch.randn(VOCABULARY, WIDTH, generator=generator)
    labels = torch.randint(0, VOCABULARY, (2, TOKENS), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.5] = -100
    return hidden, head, labels


@pytest.mark.parametrize("chunk_bytes", [2**28, 16 * 4 * VOCABULARY])
def test_values_and_gradients_equal_those_from_full_logits(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(loss_module, "_CPU_CHUNK_BYTES", chunk_bytes)
    hidden, head, labels = draw()
    ours = label_loss(hidden, head, labels)
    (gradient,) = torch.autograd.grad(ours, hidden)
    theirs = stock_loss(hidden @ head.t(), labels)
    (expected,) = torch.autograd.grad(theirs, hidden)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, expected)


def test_a_denominator_makes_portions_add_up_to_the_whole() -> None:
    hidden, head, labels = draw()
    count = int((labels != -100).sum())
    whole = label_loss(hidden, head, labels)
    parts = sum(label_loss(hidden[i : i + 1], head, labels[i : i + 1], count) for i in range(2))
    torch.testing.assert_close(parts, whole)


def test_a_batch_without_labels_costs_nothing_and_moves_nothing() -> None:
    hidden, head, labels = draw()
    loss = label_loss(hidden, head, torch.full_like(labels, -100))
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert float(loss.detach()) == 0.0
    assert not gradient.any()


class TinyModel(torch.nn.Module):
    """A model as far as its head goes."""

    def __init__(self, bias: bool = False, **config: Any) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 8, bias=bias).requires_grad_(False)
        self.config = SimpleNamespace(**config)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head


def test_a_head_that_is_more_than_a_product_is_told_apart() -> None:
    assert head_is_plain(TinyModel())
    assert head_is_plain(TinyModel(final_logit_softcapping=None, logit_scale=1.0))
    assert not head_is_plain(TinyModel(final_logit_softcapping=30.0))
    assert not head_is_plain(TinyModel(logits_scaling=8.0))
    assert not head_is_plain(TinyModel(bias=True))
    trained = TinyModel()
    trained.head.requires_grad_(True)
    assert not head_is_plain(trained)


EXAMPLES = [
    {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]},
    {"input_ids": [9, 10], "labels": [-100, 10]},
]


def test_a_flat_batch_lays_sequences_end_to_end() -> None:
    batch = FlatCollator()(EXAMPLES)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch["shift_labels"].tolist() == [[-100, 7, 8, -100, 10, -100]]
    assert batch["borders"] == (0, 4, 6)
    assert count_tokens(batch) == 6


def test_flash_attention_is_told_what_it_would_ask_the_gpu_for_in_each_layer() -> None:
    batch = FlatCollator(flash=True, plain=False)(EXAMPLES)
    known = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(EXAMPLES)
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        assert torch.equal(batch[name], known[name])
        assert batch[name].dtype == known[name].dtype
    assert [batch[name] for name in ("max_length_q", "max_length_k")] == [4, 4]
    assert [known[name] for name in ("max_length_q", "max_length_k")] == [4, 4]
    assert "borders" not in batch


def test_on_a_gpu_our_own_attention_is_told_both_ways_where_sequences_begin() -> None:
    both = flat_collator("sdpa", "cuda")(EXAMPLES)
    assert both["cu_seq_lens_q"].tolist() == list(both["borders"])
    assert "cu_seq_lens_q" not in flat_collator("sdpa", "cpu")(EXAMPLES)
    assert "borders" not in flat_collator("flash_attention_2", "cuda")(EXAMPLES)


def test_a_padded_batch_is_as_long_as_its_longest_sequence() -> None:
    batch = PaddedCollator(pad_token_id=0)(EXAMPLES)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["shift_labels"].tolist() == [[-100, 7, 8, -100], [10, -100, -100, -100]]
    assert count_tokens(batch) == 6

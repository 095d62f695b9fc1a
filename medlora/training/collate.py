"""Rows of tokens to batches: end to end where the model allows it, else padded to the longest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medlora.training.loss import IGNORED

Example = dict[str, list[int]]  # input_ids and labels, of equal length


def _shifted(labels: list[int]) -> list[int]:
    """What each position should predict: the label of the next one, nothing at the end."""
    return [*labels[1:], IGNORED]


@dataclass(frozen=True)
class FlatCollator:
    """All sequences end to end in one row, each with its own positions: no padding at all.

    Where each begins is told in plain numbers: from a GPU every layer would have to wait for them.
    plain: tell it so. flash: tell it as flash attention takes it, which would ask the GPU in each layer for
    what is missing.

    Shapes: input_ids, position_ids, labels and shift_labels (1, tokens); borders (sequences + 1,).
    """

    flash: bool = False
    plain: bool = True

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        lengths = [len(example["input_ids"]) for example in examples]
        borders = (0, *itertools.accumulate(lengths))
        batch: dict[str, Any] = {
            "input_ids": torch.tensor([[t for example in examples for t in example["input_ids"]]]),
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "labels": torch.tensor([[t for example in examples for t in example["labels"]]]),
            "shift_labels": torch.tensor([[t for example in examples for t in _shifted(example["labels"])]]),
        }
        if self.plain:
            batch["borders"] = borders
        if self.flash:
            batch["cu_seq_lens_q"] = batch["cu_seq_lens_k"] = torch.tensor(borders, dtype=torch.int32)
            batch["max_length_q"] = batch["max_length_k"] = max(lengths)
        return batch


def flat_collator(attention: str, device: str) -> FlatCollator:
    """The one for a run's attention: our own takes plain numbers, and on a GPU both."""
    own = attention == "sdpa"
    return FlatCollator(flash=not own or device == "cuda", plain=own)


@dataclass(frozen=True)
class PaddedCollator:
    """Every sequence padded on the right to the longest of its batch.

    Shapes: input_ids, attention_mask, labels and shift_labels (sequences, longest).
    """

    pad_token_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        longest = max(len(example["input_ids"]) for example in examples)
        columns: dict[str, list[list[int]]] = {}
        for example in examples:
            missing = longest - len(example["input_ids"])
            row = {
                "input_ids": example["input_ids"] + [self.pad_token_id] * missing,
                "attention_mask": [1] * len(example["input_ids"]) + [0] * missing,
                "labels": example["labels"] + [IGNORED] * missing,
                "shift_labels": _shifted(example["labels"]) + [IGNORED] * missing,
            }
            for name, values in row.items():
                columns.setdefault(name, []).append(values)
        return {name: torch.tensor(values) for name, values in columns.items()}


def blank_row(row: Example) -> Example:
    """A row from which nothing is learned, for a process that has no other left in a step."""
    ids = row["input_ids"][:2]
    return {"input_ids": ids, "labels": [IGNORED] * len(ids)}


def count_tokens(batch: dict[str, Any]) -> int:
    """Real tokens in a batch, padding left out."""
    mask = batch.get("attention_mask")
    return int(mask.sum()) if mask is not None else int(batch["input_ids"].numel())

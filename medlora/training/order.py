"""In which order records are seen: a pure function of the seed and the epoch.

Why not the library's samplers: those draw from the process's random state, which a resumed run reaches
by another way, so that its later epochs would be shuffled differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.data import Sampler

Strategy = Literal["random", "sequential", "group_by_length"]
_GROUPS_AT_A_TIME = 50


@dataclass(frozen=True)
class Part:
    """One of `world` processes, each of which takes `batch` rows at a time."""

    rank: int
    world: int
    batch: int


class EpochOrder(Sampler[int]):
    """Indices of one epoch after another; `set_epoch` chooses which."""

    def __init__(
        self, lengths: Sequence[int], strategy: Strategy, seed: int, group: int, part: Part | None = None
    ) -> None:
        """group: how many records one optimiser step sees; they get similar lengths when grouped.

        part: which of them, where several processes share the work. All get equally many, so at the end of
        an epoch some get an index that is no record's: the number of records, for a row without labels.
        """
        self._part = part
        self._lengths = list(lengths)
        self._strategy = strategy
        self._seed = seed
        self._group = max(1, group)
        self._epoch = 0

    def __len__(self) -> int:
        if self._part is None:
            return len(self._lengths)
        return -(-len(self._lengths) // (self._part.world * self._part.batch)) * self._part.batch

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = self._order()
        if self._part is None:
            return iter(order)
        rank, world, batch = self._part.rank, self._part.world, self._part.batch
        order += [len(order)] * (len(self) * world - len(order))
        return iter(order[i] for i in range(len(order)) if i // batch % world == rank)

    def _order(self) -> list[int]:
        count = len(self._lengths)
        if self._strategy == "sequential":
            return list(range(count))
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        shuffled: list[int] = torch.randperm(count, generator=generator).tolist()
        return shuffled if self._strategy == "random" else self._group_lengths(shuffled, generator)

    def _group_lengths(self, shuffled: list[int], generator: torch.Generator) -> list[int]:
        """Sorted by length within stretches, so that the records of a step are alike; then steps shuffled."""
        stretch = self._group * _GROUPS_AT_A_TIME
        groups: list[list[int]] = []
        for begin in range(0, len(shuffled), stretch):
            part = sorted(shuffled[begin : begin + stretch], key=lambda index: -self._lengths[index])
            groups += [part[i : i + self._group] for i in range(0, len(part), self._group)]
        whole = [group for group in groups if len(group) == self._group]
        rest = [group for group in groups if len(group) < self._group]
        mixed = [whole[i] for i in torch.randperm(len(whole), generator=generator).tolist()]
        return [index for group in mixed + rest for index in group]

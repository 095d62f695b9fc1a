"""An adapter beside the base model's weights, for one decoding step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Side:
    """What an adapter adds to one projection. Shapes: down (k, r), up (r, n).

    Where a projection joins several layers, their ranks lie one after another and `up` has a block for each,
    with zeros elsewhere: two products instead of two for every layer.
    """

    down: torch.Tensor
    up: torch.Tensor


class Voice:
    """The low-rank weights of one adapter, by the number of the projection they belong to.

    Why they are not merged into the base: merged weights would have to be rounded again, and an answer
    alone and the same answer side by side with others would not be the same.
    """

    def __init__(self, sides: Mapping[int, Side] | None = None) -> None:
        self._sides = dict(sides or {})

    def speaks(self, number: int) -> bool:
        """Whether it adds anything to projection `number`."""
        return number in self._sides

    def add(self, number: int, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add what the adapter says of projection `number`, in place. Shapes: (1, k) and (1, n)."""
        side = self._sides.get(number)
        if side is not None:
            outputs.addmm_(inputs @ side.down, side.up)

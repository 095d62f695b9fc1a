"""The order of records is a function of seed and epoch, and of nothing else."""

from __future__ import annotations

import pytest
import torch

from medlora.training.order import EpochOrder, Part

pytestmark = pytest.mark.torch
LENGTHS = [7 * n % 50 + 1 for n in range(97)]


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "sequential"])
def test_every_record_is_seen_once_an_epoch(strategy: str) -> None:
    order = EpochOrder(LENGTHS, strategy, seed=1, group=8)  # type: ignore[arg-type]
    assert sorted(order) == list(range(len(LENGTHS)))
    assert len(order) == len(LENGTHS)


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_the_same_seed_and_epoch_give_the_same_order_whatever_was_drawn_before(strategy: str) -> None:
    one, other = (EpochOrder(LENGTHS, strategy, seed=1, group=8) for _ in range(2))  # type: ignore[arg-type]
    one.set_epoch(2)
    first = list(one)
    torch.rand(100)
    list(other)
    other.set_epoch(2)
    assert list(other) == first
    other.set_epoch(3)
    assert list(other) != first
    assert list(EpochOrder(LENGTHS, strategy, seed=2, group=8)) != list(one)  # type: ignore[arg-type]


def test_grouping_puts_records_of_like_length_into_one_step() -> None:
    order = list(EpochOrder(LENGTHS, "group_by_length", seed=1, group=8))
    spreads = []
    for begin in range(0, 96, 8):
        lengths = [LENGTHS[index] for index in order[begin : begin + 8]]
        spreads.append(max(lengths) - min(lengths))
    assert max(spreads) <= 6
    steps = [LENGTHS[index] for index in order[0:96:8]]
    assert steps != sorted(steps) and steps != sorted(steps, reverse=True)


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_the_parts_of_several_processes_are_one_order_without_a_row_twice(strategy: str) -> None:
    whole = list(EpochOrder(LENGTHS, strategy, seed=1, group=12))  # type: ignore[arg-type]
    orders = [
        EpochOrder(LENGTHS, strategy, seed=1, group=12, part=Part(rank, 3, 2))  # type: ignore[arg-type]
        for rank in range(3)
    ]
    parts = [list(order) for order in orders]
    assert {len(part) for part in parts} == {len(orders[0])}
    steps = [[part[at : at + 2] for part in parts] for at in range(0, len(parts[0]), 2)]
    together = [index for step in steps for rows in step for index in rows]
    assert [index for index in together if index < len(LENGTHS)] == whole
    assert len(together) - len(whole) < 6

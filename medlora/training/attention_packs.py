"""Short sequences of like lengths laid side by side, so that one batched product serves them all.

Why: a step has eight sequences and thirty layers; taken one by one, the calls cost more than the products.
What is laid beside a sequence to fill it up repeats its last token: no token before it sees that, and what
comes back from there is zero or is left where it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

Places = np.ndarray[Any, np.dtype[np.int64]]

# Longer ones are cheaper in blocks of rows, which leave out most of what the mask throws away.
LONGEST = 256
# A sequence shorter than this share of the longest beside it would be filled up with more than it saves.
_ALIKE = 0.75
# Rows of whole vectors: products and softmax are faster than in rows of 129.
_STEP = 16


@dataclass(frozen=True)
class Pack:
    """Where each row of the packed tensors comes from, and where it goes; all are indices of flat rows.

    Why numpy's arrays: they are kept from layer to layer, and a memory trace has tensors of its own kind.

    The packed rows are those of (kv_heads, sequences, heads / kv_heads, longest), and of keys and values
    those of (kv_heads, sequences, longest).
    spans: the tokens [first, end) of each sequence, in order. count: how many tokens they have together.
    queries, keys: from (heads, tokens) and (kv_heads, tokens). incoming: from (tokens, heads).
    fillers: packed rows that are no token's. outgoing: for (count, heads), from packed rows;
    to_queries, to_keys: for (heads, count) and (kv_heads, count), from packed rows.
    """

    spans: tuple[tuple[int, int], ...]
    batch: int
    longest: int
    count: int
    queries: Places
    keys: Places
    incoming: Places
    fillers: Places
    outgoing: Places
    to_queries: Places
    to_keys: Places

    def rows(self, of: torch.Tensor, places: Places) -> torch.Tensor:
        """The rows at those places, one packed sequence of one key head after another.

        Shapes: of (…, head_dim); result (kv_heads * sequences, rows, head_dim).
        """
        flat = of.reshape(-1, of.shape[-1])
        return flat.index_select(0, torch.tensor(places)).view(self.batch, -1, of.shape[-1])

    def give_back(self, packed: torch.Tensor, places: Places, into: torch.Tensor) -> None:
        """Write packed rows to where the tokens of these sequences lie.

        Shapes: packed (…, w), into (n, tokens, m * w), places (n * count * m,).
        """
        flat = packed.view(-1, packed.shape[-1])
        if self.count == into.shape[1]:
            torch.index_select(flat, 0, torch.tensor(places), out=into.view(-1, packed.shape[-1]))
            return
        gathered, begin = flat.index_select(0, torch.tensor(places)).view(into.shape[0], self.count, -1), 0
        for first, end in self.spans:
            into[:, first:end] = gathered[:, begin : begin + end - first]
            begin += end - first


@lru_cache(maxsize=16)
def pack_sequences(
    borders: tuple[int, ...], heads: int, groups: int
) -> tuple[tuple[Pack, ...], tuple[tuple[int, int], ...]]:
    """Packs of sequences, and the spans of those that stay alone: long ones, and those like no other."""
    spans = list(itertools.pairwise(borders))
    short = sorted(
        (span for span in spans if span[1] - span[0] <= LONGEST), key=lambda span: span[0] - span[1]
    )
    packs, alone = [], [span for span in spans if span[1] - span[0] > LONGEST]
    while short:
        shortest = _ALIKE * (short[0][1] - short[0][0])
        alike = list(itertools.takewhile(lambda span: span[1] - span[0] >= shortest, short))  # noqa: B023
        short = short[len(alike) :]
        if len(alike) == 1:
            alone += alike
        else:
            packs.append(_pack(sorted(alike), borders[-1], heads, groups))
    return tuple(packs), tuple(sorted(alone))


def _pack(spans: Sequence[tuple[int, int]], tokens: int, heads: int, groups: int) -> Pack:
    lengths = [end - first for first, end in spans]
    count, longest, group = len(spans), -(-max(lengths) // _STEP) * _STEP, heads // groups
    places = np.array([[min(first + i, end - 1) for i in range(longest)] for first, end in spans])
    filled = np.array([[i >= length for i in range(longest)] for length in lengths])
    head = np.arange(heads).reshape(groups, 1, group, 1)
    packed = np.arange(groups * count * group * longest).reshape(groups, count, group, longest)
    of_heads = packed.transpose(0, 2, 1, 3).reshape(heads, count, longest)[:, ~filled]
    of_keys = np.arange(groups * count * longest).reshape(groups, count, longest)[:, ~filled]
    return Pack(
        spans=tuple(spans),
        batch=groups * count,
        longest=longest,
        count=sum(lengths),
        queries=(head * tokens + places[None, :, None]).ravel(),
        keys=(np.arange(groups)[:, None, None] * tokens + places).ravel(),
        incoming=(places[None, :, None] * heads + head).ravel(),
        fillers=packed.transpose(1, 3, 0, 2)[filled].ravel(),
        outgoing=of_heads.T.ravel(),
        to_queries=of_heads.ravel(),
        to_keys=of_keys.ravel(),
    )

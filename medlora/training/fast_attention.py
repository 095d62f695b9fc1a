"""Causal attention of sequences that lie end to end, as batched products with their own backward pass.

Why: the backward pass of torch's attention on a CPU takes longer than all of a short sequence's other
products; written as five batched products it almost vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medlora.training.attention_packs import Pack, pack_sequences
from medlora.training.kernels import Kernels

# Rows of a sequence that are looked at together; more would compute more of what the mask throws away.
_BLOCK = 256
# Longer sequences compute their probabilities again in the backward pass, since they grow with the square.
_KEEP_TOKENS = 512


@dataclass(frozen=True)
class _Block:
    """Rows begin:end, of a sequence that begins at `first`; they see keys first:end."""

    first: int
    begin: int
    end: int
    keep: bool
    last: bool


def _blocks(spans: Sequence[tuple[int, int]]) -> Iterator[_Block]:
    for first, end in spans:
        for begin in range(first, end, _BLOCK):
            stop = min(begin + _BLOCK, end)
            yield _Block(first, begin, stop, keep=end - first <= _KEEP_TOKENS, last=stop == end)


@dataclass(frozen=True)
class SequenceAttention:
    """Attention over one layout of sequences.

    Shapes everywhere: queries (heads, tokens, head_dim), keys and values (kv_heads, tokens, head_dim).
    """

    borders: tuple[int, ...]
    scale: float
    kernels: Kernels

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The result (tokens, heads, head_dim) and the probabilities that are worth keeping."""
        heads, tokens, width = queries.shape
        out = queries.new_empty(tokens, heads, width)
        packs, alone = pack_sequences(self.borders, heads, keys.shape[0])
        kept = []
        for pack in packs:
            chances = self._packed_chances(queries, keys, pack)
            seen = torch.bmm(chances, pack.rows(values, pack.keys))
            pack.give_back(seen, pack.outgoing, out.view(1, tokens, -1))
            kept.append(chances)
        for block in _blocks(alone):
            chances = self._chances(queries, keys, block)
            seen = torch.bmm(chances, values[:, block.first : block.end])
            rows = block.end - block.begin
            out[block.begin : block.end] = seen.view(heads, rows, width).transpose(0, 1)
            if block.keep:
                kept.append(chances)
        return out, kept

    def backward(
        self, gradient: torch.Tensor, parts: tuple[torch.Tensor, ...], kept: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of queries and keys in one tensor, and of the values.

        Shapes: gradient (tokens, heads, head_dim); results (heads + kv_heads, tokens, head_dim) and
        (kv_heads, tokens, head_dim).
        """
        queries, keys, values = parts
        heads, tokens, width = queries.shape
        groups = keys.shape[0]
        g_turned = queries.new_empty(heads + groups, tokens, width)
        g_queries, g_keys, g_values = g_turned[:heads], g_turned[heads:], queries.new_empty(values.shape)
        remaining = list(kept)
        packs, alone = pack_sequences(self.borders, heads, groups)
        for block in reversed(list(_blocks(alone))):
            seen, rows = slice(block.first, block.end), slice(block.begin, block.end)
            chances = remaining.pop() if block.keep else self._chances(queries, keys, block)
            incoming = gradient[rows].transpose(0, 1).reshape(groups, -1, width)
            g_chances = torch.bmm(incoming, values[:, seen].transpose(1, 2))
            g_scores = self.kernels.softmax_back(g_chances, chances, self.scale)
            g_queries[:, rows] = torch.bmm(g_scores, keys[:, seen]).view(heads, -1, width)
            to_keys = torch.bmm(g_scores.transpose(1, 2), _fold(queries[:, rows], groups))
            to_values = torch.bmm(chances.transpose(1, 2), incoming)
            if block.last:  # the last block sees the whole sequence, the ones before it a part
                g_keys[:, seen], g_values[:, seen] = to_keys, to_values
            else:
                g_keys[:, seen] += to_keys
                g_values[:, seen] += to_values
        for pack in reversed(packs):
            self._packed_backward((gradient, *parts, remaining.pop()), (g_queries, g_keys, g_values), pack)
        return g_turned, g_values

    def _packed_backward(
        self, given: tuple[torch.Tensor, ...], reached: tuple[torch.Tensor, ...], pack: Pack
    ) -> None:
        """Write the gradients of the sequences of one pack."""
        gradient, queries, keys, values, chances = given
        g_queries, g_keys, g_values = reached
        incoming = pack.rows(gradient, pack.incoming)
        incoming.view(-1, gradient.shape[-1]).index_fill_(0, torch.tensor(pack.fillers), 0.0)
        g_chances = torch.bmm(incoming, pack.rows(values, pack.keys).transpose(1, 2))
        g_scores = self.kernels.softmax_back(g_chances, chances, self.scale)
        to_queries = torch.bmm(g_scores, pack.rows(keys, pack.keys))
        to_keys = torch.bmm(g_scores.transpose(1, 2), pack.rows(queries, pack.queries))
        to_values = torch.bmm(chances.transpose(1, 2), incoming)
        pack.give_back(to_queries, pack.to_queries, g_queries)
        pack.give_back(to_keys, pack.to_keys, g_keys)
        pack.give_back(to_values, pack.to_keys, g_values)

    def _packed_chances(self, queries: torch.Tensor, keys: torch.Tensor, pack: Pack) -> torch.Tensor:
        """Shapes: result (kv_heads * sequences, group * longest, longest)."""
        packed = pack.rows(keys, pack.keys)
        scores = torch.bmm(pack.rows(queries, pack.queries), packed.transpose(1, 2))
        split = scores.view(pack.batch, -1, pack.longest, pack.longest)
        chances: torch.Tensor = self.kernels.causal_softmax(split, self.scale)
        return chances.view_as(scores)

    def _chances(self, queries: torch.Tensor, keys: torch.Tensor, block: _Block) -> torch.Tensor:
        """Shapes: result (kv_heads, group * rows, keys seen)."""
        groups = keys.shape[0]
        folded = _fold(queries[:, block.begin : block.end], groups)
        scores = torch.bmm(folded, keys[:, block.first : block.end].transpose(1, 2))
        split = scores.view(groups, -1, block.end - block.begin, block.end - block.first)
        chances: torch.Tensor = self.kernels.causal_softmax(split, self.scale)
        return chances.view_as(scores)


def _fold(rows: torch.Tensor, groups: int) -> torch.Tensor:
    """Heads that share a key laid under each other: (heads, n, dim) to (groups, heads / groups * n, dim)."""
    return rows.reshape(groups, -1, rows.shape[-1])


class _PlainAttention(torch.autograd.Function):
    """The attention alone, for layers that are otherwise the library's own."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        attention: SequenceAttention,
    ) -> torch.Tensor:
        out, kept = attention.forward(queries, keys, values)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.attention = attention
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        g_turned, g_values = ctx.attention.backward(gradients[0], (queries, keys, values), kept)
        heads = queries.shape[0]
        return g_turned[:heads], g_turned[heads:], g_values, None


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, attention: SequenceAttention
) -> torch.Tensor:
    """Shapes: result (tokens, heads, head_dim)."""
    out: torch.Tensor = _PlainAttention.apply(queries, keys, values, attention)
    return out

"""The attention states of earlier prompts, kept so that a shared beginning is not computed again."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# A conversation's states can be as large as a small model: what is kept of them must not crowd it out.
_BYTES_KEPT = 2**29
# Reading a turn of its own costs a call; shorter ones go with the next.
_SHORTEST_PIECE = 16


@dataclass
class _Kept:
    weights: str
    ids: list[int]
    states: DynamicCache

    @property
    def size(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.states.layers)


class PrefixMemory:
    """The states of a few conversations, newest last, each cut where a piece of reading begins.

    Why pieces: where a prompt is cut for reading depends on what stands before the cut and nothing else,
    and only states up to a cut are kept. So an answer that starts from kept states went through the very
    same arithmetic as one that starts from nothing: equal to the last bit, whatever was asked before.
    Not covered: layers that forget (sliding windows, recurrent states). They are never reused.
    """

    def __init__(self, piece: int, count: int = 8, size: int = _BYTES_KEPT) -> None:
        self.piece = piece
        self._count = count
        self._size = size
        self._kept: list[_Kept] = []

    def cuts(self, ids: list[int], ends: AbstractSet[int]) -> list[int]:
        """Where pieces begin: after the end of a turn, and at the latest every `piece` tokens; 0 is first.

        Why after turns: a system prompt and every earlier turn are then shared whole.
        """
        found = [0]
        for place, token in enumerate(ids, 1):
            length = place - found[-1]
            if length == self.piece or (token in ends and length >= _SHORTEST_PIECE):
                found.append(place)
        return found

    def take(self, weights: str, ids: list[int], ends: AbstractSet[int]) -> tuple[DynamicCache | None, int]:
        """States for the longest known beginning of `ids`, and its length; the last token is never part."""
        best, shared = None, 0
        for kept in self._kept:
            common = _common(kept.ids, ids[:-1]) if kept.weights == weights else 0
            if common > shared and (cut := self.cuts(ids[:common], ends)[-1]) > shared:
                best, shared = kept, cut
        if best is None:
            return None, 0
        if shared == len(best.ids):
            self._kept.remove(best)
            return best.states, shared
        return _copy_beginning(best.states, shared), shared

    def keep(self, weights: str, ids: list[int], states: DynamicCache, ends: AbstractSet[int]) -> None:
        """Remember the states of the prompt `ids`, as far as they were read; the oldest makes room."""
        held = int(states.get_seq_length())
        whole = self.cuts(ids[:held], ends)[-1]
        if whole and all(type(layer) is DynamicLayer for layer in states.layers):
            states.crop(whole - held)
            self._kept = [kept for kept in self._kept if not self._is_part(kept, weights, ids[:whole])]
            self._kept.append(_Kept(weights, ids[:whole], states))
            del self._kept[: -self._count]
            while sum(kept.size for kept in self._kept) > self._size:
                del self._kept[0]

    def forget(self) -> None:
        """Drop everything, for instance when the weights leave the memory."""
        self._kept.clear()

    @staticmethod
    def _is_part(kept: _Kept, weights: str, ids: list[int]) -> bool:
        return kept.weights == weights and kept.ids == ids[: len(kept.ids)]


def _common(first: list[int], second: list[int]) -> int:
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    return next(i for i in range(length) if first[i] != second[i])


def _copy_beginning(states: DynamicCache, length: int) -> DynamicCache:
    copy = DynamicCache()
    for number, layer in enumerate(states.layers):
        keys, values = layer.keys, layer.values
        copy.update(keys[..., :length, :].clone(), values[..., :length, :].clone(), number)
    return copy

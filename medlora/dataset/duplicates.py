"""Exact and near duplicates, in time and memory linear in the number of rows.

Why: a record that stands twice is learned twice, and one that stands in both parts of the split makes the
evaluation loss look better than it is.
Source: near ones by min-wise hashing of word triples (Broder 1997) with banding; 192 bytes a row.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from medlora.dataset.shapes import Record, Turn

# Eight bands of five hashes meet for 99 % of pairs that share 85 % of their triples.
_HASHES, _BANDS, _PER_BAND = 64, 8, 5
_ALIKE = 0.85
_FEWEST_SHINGLES = 8
_MOST_SHINGLES = 20_000
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row that says what an earlier row (`of`) says already; `near` if in almost the same words."""

    line: int
    of: int
    near: bool


def digest_turns(turns: Sequence[Turn]) -> bytes:
    """A hash of a conversation, the same on any machine."""
    state = hashlib.blake2b(digest_size=16)
    for turn in turns:
        for part in (turn.role, turn.content):
            data = part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big") + data)
    return state.digest()


class ExactDuplicates:
    """Remembers eight bytes and a line number of each conversation."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def first_line(self, record: Record) -> int | None:
        """The line on which the same conversation stood before, else None (and it is remembered)."""
        key = int.from_bytes(digest_turns(record.messages)[:8], "big")
        first = self._first.setdefault(key, record.line)
        return None if first == record.line else first


class NearDuplicates:
    """Collects signatures; pairs are sought at the end, so that memory stays flat."""

    def __init__(self) -> None:
        import numpy as np

        self._np: Any = np
        seeds = hashlib.shake_128(b"medlora near duplicates").digest(_HASHES * 16)
        numbers = np.frombuffer(seeds, dtype="<u8").astype(np.uint64)
        self._factors, self._offsets = numbers[:_HASHES, None] | np.uint64(1), numbers[_HASHES:, None]
        self._lines = array("Q")
        self._signatures = bytearray()
        self._bands = bytearray()

    def add(self, record: Record) -> None:
        """Take in a record; one too short to compare is left out."""
        np = self._np
        text = " ".join(turn.content for turn in record.messages if turn.role != "system").casefold()
        words = np.array([_hash_word(word) for word in _WORD.findall(text)], dtype=np.uint64)
        if len(words) < _FEWEST_SHINGLES + 2:
            return
        shingles = np.unique(words[:-2] * 0x9E3779B97F4A7C15 ^ words[1:-1] * 0xC2B2AE3D27D4EB4F ^ words[2:])
        hashed = shingles[None, :_MOST_SHINGLES] * self._factors + self._offsets
        signature = hashed.min(axis=1) >> np.uint64(16)
        bands = signature[: _BANDS * _PER_BAND].reshape(_BANDS, _PER_BAND)
        mixed = np.zeros(_BANDS, dtype=np.uint64)
        for column in range(_PER_BAND):
            mixed = (mixed ^ bands[:, column]) * np.uint64(0x100000001B3)
        self._lines.append(record.line)
        self._signatures += (signature & np.uint64(0xFF)).astype(np.uint8).tobytes()
        self._bands += mixed.tobytes()

    def pairs(self) -> list[Duplicate]:
        """Each near duplicate with the earlier row it is like, by line."""
        np = self._np
        if len(self._lines) < 2:
            return []
        signatures = np.frombuffer(self._signatures, dtype=np.uint8).reshape(-1, _HASHES)
        bands = np.frombuffer(self._bands, dtype=np.uint64).reshape(-1, _BANDS)
        found: dict[int, int] = {}
        for band in range(_BANDS):
            for group in _groups(np, bands[:, band]):
                for before, row in pairwise(group):
                    for other in (group[0], before):
                        if row not in found and (signatures[row] == signatures[other]).mean() >= _ALIKE:
                            found[row] = other
        return [Duplicate(self._lines[row], self._lines[found[row]], True) for row in sorted(found)]


def _groups(np: Any, column: Any) -> Iterator[list[int]]:
    """Rows with equal values, each group in order of appearance."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(order)]
    for index in np.flatnonzero(ends - starts > 1):
        yield order[starts[index] : ends[index]].tolist()


@lru_cache(maxsize=100_000)
def _hash_word(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) + 1

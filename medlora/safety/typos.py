"""Misspelt critical words, found through a deletion dictionary.

Why: distance 1 for words of 5 to 7 letters and 2 for 8 and more, over the critical vocabulary alone and
never from a common English word, so that "chess" stays chess.
Source: the symmetric deletion idea (SymSpell); optimal string alignment distance.
"""

from __future__ import annotations

from collections.abc import Iterable

_MIN_LETTERS, _LONG_LETTERS, _MAX_LETTERS = 5, 8, 24


def edit_distance(left: str, right: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two words, at most limit + 1."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        two_before, before, row = before, row, [i]
        for j, b in enumerate(right, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]


def allowed_distance(word: str) -> int:
    """How many slips a word of that length may carry."""
    if len(word) < _MIN_LETTERS:
        return 0
    return 1 if len(word) < _LONG_LETTERS else 2


def _deletions(word: str, count: int) -> set[str]:
    """The word with up to `count` (at most two) letters left out."""
    once = {word[:i] + word[i + 1 :] for i in range(len(word))} if count else set()
    twice = {short[:i] + short[i + 1 :] for short in once for i in range(len(short))} if count > 1 else set()
    return {word} | once | twice


class TypoIndex:
    """From a misspelt word to the critical word it most likely means."""

    def __init__(self, critical: Iterable[str], common: Iterable[str]) -> None:
        self._critical = frozenset(critical)
        self._common = frozenset(common)
        self._index: dict[str, list[str]] = {}
        for word in sorted(self._critical):
            distance = allowed_distance(word)
            if distance:
                for key in _deletions(word, distance):
                    self._index.setdefault(key, []).append(word)

    def correct(self, word: str) -> str | None:
        """The critical word meant, or None: too short, too far, common, or right as it is."""
        if (
            not _MIN_LETTERS - 1 <= len(word) <= _MAX_LETTERS
            or word in self._common
            or word in self._critical
        ):
            return None
        best: tuple[int, str] | None = None
        for key in _deletions(word, 2 if len(word) >= _LONG_LETTERS else 1):
            for target in self._index.get(key, ()):
                # Two slips are believed only when the word still begins the same way.
                limit = allowed_distance(target) if word[0] == target[0] else 1
                distance = edit_distance(word, target, limit)
                if distance <= limit and (best is None or (distance, target) < best):
                    best = (distance, target)
        return best[1] if best else None

"""Misspelt critical words, found through a deletion dictionary.

Why: distance 1 for words of 5 to 7 letters and 2 for 8 and more, over the critical vocabulary alone and
never from a common English word, so that "chess" stays chess.
Source: the symmetric deletion idea (SymSpell); optimal string alignment distance.
"""

from __future__ import annotations

from collections.abc import Iterable

_MIN_LETTERS, _LONG_LETTERS, _MAX_LETTERS = 5, 8, 24
_LONG_ENOUGH = 7


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
    """From a misspelt word to the word of the catalogue that it most likely means.

    critical: words that may be one or two slips away. near: the other words of the signs, one slip
    away at most and begun with the same letter.
    """

    def __init__(self, critical: Iterable[str], common: Iterable[str], near: Iterable[str] = ()) -> None:
        self._critical = frozenset(critical)
        self._near = frozenset(near) - self._critical
        self._common = frozenset(common)
        self._index: dict[str, list[str]] = {}
        for word in sorted(self._critical | self._near):
            distance = min(allowed_distance(word), 2 if word in self._critical else 1)
            if distance:
                for key in _deletions(word, distance):
                    self._index.setdefault(key, []).append(word)

    def correct(self, word: str) -> str | None:
        """The word meant, or None: too short, too far, common, or right as it is."""
        if (
            not _MIN_LETTERS - 1 <= len(word) <= _MAX_LETTERS
            or word in self._common
            or word in self._critical
            or word in self._near
        ):
            return None
        best: tuple[int, bool, bool, str] | None = None
        for key in _deletions(word, 2 if len(word) >= _LONG_LETTERS else 1):
            for target in self._index.get(key, ()):
                limit = self._limit(word, target)
                distance = edit_distance(word, target, limit)
                if distance <= limit:
                    # Of two that are as near, the one of the same letters, then the critical one.
                    other_letters = sorted(word) != sorted(target)
                    rank = (distance, other_letters, target not in self._critical, target)
                    best = rank if best is None else min(best, rank)
        return best[-1] if best else None

    def _limit(self, word: str, target: str) -> int:
        """How far a word may be from a target: two slips only when the word still begins the same way."""
        same_start = word[0] == target[0]
        if target not in self._near:
            return allowed_distance(target) if same_start else 1
        # A letter in place of another makes too many short words of one another: "sword", "swore".
        replaced = len(word) == len(target) and sorted(word) != sorted(target)
        short = len(word) < (_LONG_ENOUGH if replaced else _MIN_LETTERS)
        return 1 if same_start and not short else 0

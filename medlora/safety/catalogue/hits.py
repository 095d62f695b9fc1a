"""What was found of the catalogue's phrases in one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Hit = tuple[int, int]


class Hits:
    """Hits by phrase, given out by term list on demand.

    Why: a common word belongs to hundreds of term lists, of which a message needs a few.
    """

    def __init__(self, lists_of: Sequence[frozenset[int]], phrases_of: Mapping[int, frozenset[int]]) -> None:
        self._lists_of = lists_of
        self._phrases_of = phrases_of
        self._phrases: dict[int, list[Hit]] = {}
        self._lists: dict[int, list[Hit]] = {}
        self.present: set[int] = set()

    def note(self, phrase: int, start: int, end: int) -> None:
        """One phrase, seen at a place."""
        if phrase in self._phrases:
            self._phrases[phrase].append((start, end))
        else:
            self._phrases[phrase] = [(start, end)]
            self.present |= self._lists_of[phrase]

    def add(self, number: int, hit: Hit) -> None:
        """A hit of a list that has no phrases, such as a reading."""
        self._lists.setdefault(number, []).append(hit)
        self._lists[number].sort()
        self.present.add(number)

    def __contains__(self, number: int) -> bool:
        return number in self.present

    def of(self, number: int) -> list[Hit]:
        """The hits of a term list, in the order of the text."""
        if number not in self._lists:
            phrases = self._phrases.keys() & self._phrases_of.get(number, frozenset())
            self._lists[number] = sorted({hit for phrase in phrases for hit in self._phrases[phrase]})
        return self._lists[number]

    def phrases(self) -> Mapping[int, list[Hit]]:
        """The hits by phrase."""
        return self._phrases

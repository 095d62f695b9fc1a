"""Readings that are signs by their value: "sats 82", "BP 70/40", "temp of 41"."""

from __future__ import annotations

from bisect import bisect_left

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.hits import Hit, Hits
from medlora.safety.catalogue.schema import MeasureEntry
from medlora.safety.tokens import Tokens

_PAIR_LINKS = frozenset(("/", "over", "on", "by"))


def find_measures(catalogue: Catalogue, tokens: Tokens, hits: Hits) -> None:
    """Add a hit under a measure's own number wherever its reading lies between its borders."""
    words = tokens.words
    numbers = [(place, float(word)) for place, word in enumerate(words) if _is_number(word)]
    if not numbers:
        return
    for entry, own, beside, units in catalogue.measures:
        if entry.beside and beside not in hits:
            continue
        for place, value in numbers:
            if not entry.low <= value <= entry.high:
                continue
            end = _reading_end(entry, place, words)
            if end is None or (units and not (end < len(words) and words[end] in units)):
                continue
            near = (
                _nearest(hits.of(beside), place, end, entry.reach, tokens) if entry.beside else (place, end)
            )
            if near is not None:
                hits.add(own, (min(place, near[0]), max(end, near[1])))


def _reading_end(entry: MeasureEntry, place: int, words: list[str]) -> int | None:
    """Where the reading that begins here ends: a number, or a pair such as 70/40; None when it is not one."""
    if entry.pair:
        paired = place + 2 < len(words) and words[place + 1] in _PAIR_LINKS and _is_number(words[place + 2])
        return place + 3 if paired else None
    second_of_pair = place > 0 and words[place - 1] in _PAIR_LINKS and bool(entry.beside)
    return None if second_of_pair else place + 1


def _is_number(word: str) -> bool:
    return word[0].isdigit() and word.replace(".", "", 1).isdigit() and len(word) < 9


def _nearest(hits: list[Hit], place: int, end: int, reach: int, tokens: Tokens) -> Hit | None:
    """A hit at most `reach` tokens before the number, or directly after it, in the same sentence."""
    for index in range(bisect_left(hits, (place - reach - 5, 0)), len(hits)):
        start, stop = hits[index]
        if start > end + 1:
            break
        before = 0 <= place - stop <= reach
        after = 0 <= start - end <= 1
        if (before or after) and tokens.sentences[start] == tokens.sentences[place]:
            return start, stop
    return None

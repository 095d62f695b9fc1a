"""Where things stand in a tokenised text: sentences, and hits by place."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from medlora.safety.catalogue.hits import Hit
from medlora.safety.tokens import Tokens


@dataclass
class Sentence:
    """The tokens of one sentence and what was found of it as a whole."""

    start: int
    end: int
    general: bool = False


def split_sentences(tokens: Tokens) -> dict[int, Sentence]:
    sentences: dict[int, Sentence] = {}
    for place, number in enumerate(tokens.sentences):
        sentences.setdefault(number, Sentence(place, place)).end = place + 1
    return sentences


def find_between(hits: list[Hit], start: int, end: int) -> list[Hit]:
    """The hits that begin in [start, end)."""
    return hits[bisect_left(hits, (start, 0)) : bisect_left(hits, (end, 0))]


def any_between(hits: list[Hit], start: int, end: int) -> bool:
    """Whether a hit begins in [start, end)."""
    index = bisect_left(hits, (start, 0))
    return index < len(hits) and hits[index][0] < end


def overlap(hits: list[Hit], item: Hit) -> bool:
    """Whether a hit shares a token with the item."""
    return any(end > item[0] for _, end in find_between(hits, item[0] - 8, item[1]))

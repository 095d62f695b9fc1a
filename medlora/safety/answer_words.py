"""The words of a piece of an answer, as the rules for answers see them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medlora.safety.normalise import fold

_PIECE = re.compile(r"[^\W_]+|[.!?;:|\n]+|(?<=\s)-+(?=\s)")


@dataclass(frozen=True)
class Line:
    """Words joined by spaces, where each begins in it, and where sentences do."""

    text: str
    starts: tuple[int, ...]
    sentences: tuple[int, ...]


@dataclass(frozen=True)
class WordsRead:
    """The words of a piece and where each ends in it; `marked` shows the ends of sentences too."""

    words: list[str]
    ends: list[int]
    plain: Line
    marked: Line


def read_words(text: str) -> WordsRead:
    """The words of a text, plain and with marks between its sentences."""
    folded = fold(text)
    words: list[str] = []
    ends: list[int] = []
    borders: list[str] = []
    border = ""
    for found in _PIECE.finditer(folded.text):
        piece = found.group().strip()
        if piece[:1].isalnum():
            words.append(piece)
            ends.append(folded.span(found.start(), found.end())[1])
            borders.append(border)
            border = ""
        else:
            border = "?" if "?" in (piece, border) else "|"
    plain = _join(words, [""] * len(words), borders)
    return WordsRead(words, ends, plain, _join(words, borders, borders))


def _join(words: list[str], marks: list[str], borders: list[str]) -> Line:
    """One line of words, each with the mark that stands before it."""
    parts: list[str] = []
    starts: list[int] = []
    sentences = [0]
    length = 0
    for word, mark, border in zip(words, marks, borders, strict=True):
        if mark:
            parts.append(mark)
            length += len(mark) + 1
        if border:
            sentences.append(length)
        starts.append(length)
        parts.append(word)
        length += len(word) + 1
    return Line(" ".join(parts), tuple(starts), tuple(sentences))

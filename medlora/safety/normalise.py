"""Fold a text to plain lower-case characters, keeping where each one came from.

Covered: compatibility forms, case, accents, zero-width and control characters, look-alike letters of
other scripts, styled letters, curly quotes. Not covered: whole words written in another script.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Cyrillic and Greek letters that pass for Latin ones, and quotes and dashes with plain twins.
_LOOKALIKES = str.maketrans(
    "аеорсхуіјѕԁһкмтвнԝɡıαορνικτχυβεμηƖǀ’‘ʼ`´“”„–—−‐‑…",
    "aeopcxyijsdhkmtbhwgiaopviktxubemhll'''''\"\"\"-----.",
)
_WORDLESS = frozenset(("Cf", "Cc", "Co", "Cs", "Mn", "Me"))


@dataclass(frozen=True)
class Folded:
    """Folded text; `origin[i]` is the place of character i in the original, None where nothing moved."""

    text: str
    origin: tuple[int, ...] | None
    length: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original span of a folded one."""
        if self.origin is None:
            return start, end
        if start >= len(self.origin):
            return self.length, self.length
        return self.origin[start], (self.origin[end - 1] + 1 if end > start else self.origin[start])


@lru_cache(maxsize=8192)
def _fold_char(char: str) -> str:
    """What one character becomes: several, one, or nothing."""
    if char in "\n\r\u2028\u2029\x0b\x0c\x85":
        return "\n"
    if char == "\t" or char.isspace():
        return " "
    if unicodedata.category(char) in _WORDLESS:
        return ""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", char).casefold())
    kept = "".join(c for c in folded if unicodedata.category(c) not in _WORDLESS)
    return kept.translate(_LOOKALIKES)


def fold(text: str) -> Folded:
    """Fold a whole text in one pass."""
    if text.isascii() and text.isprintable():
        return Folded(text.lower().replace("`", "'"), None, len(text))
    characters: list[str] = []
    origin: list[int] = []
    for place, char in enumerate(text):
        for folded in _fold_char(char):
            characters.append(folded)
            origin.append(place)
    return Folded("".join(characters), tuple(origin), len(text))

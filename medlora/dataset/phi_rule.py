"""What a recogniser of the PHI scan is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Accept = Callable[[re.Match[str]], bool]


def cue_words(words: str) -> tuple[str, ...]:
    return tuple(words.split())


@dataclass(frozen=True)
class Folded:
    """A text beside its lower-case form with plain spaces, in which rules look for their cue words."""

    text: str
    lowered: str
    has_digit: bool

    @classmethod
    def of(cls, text: str) -> Folded:
        lowered = f" {text.lower()} ".translate(_TO_SPACE)
        return cls(text, lowered, bool(_DIGIT.search(text)))


_TO_SPACE = {ord(c): " " for c in "\n\r\t(\"'[,;*>"}
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Rule:
    """One recogniser: a pattern, a check of what it matched, and cues that spare most texts the pattern.

    The finding is the group `phi` if the pattern has one, else the whole match.
    """

    kind: str
    pattern: re.Pattern[str]
    accept: Accept = field(default=lambda match: True)
    cues: tuple[str, ...] = ()
    digit: bool = True

    def spans(self, folded: Folded) -> Iterator[tuple[int, int]]:
        """Where the rule finds something."""
        if self.digit and not folded.has_digit:
            return
        if self.cues and not any(cue in folded.lowered for cue in self.cues):
            return
        group: str | int = "phi" if "phi" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(folded.text):
            if self.accept(match):
                yield match.span(group)

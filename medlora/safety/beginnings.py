"""Which words a pattern cannot do without, read from the pattern itself, so that most need not be tried.

Why: the rules for answers hold many long patterns, and a sentence is judged while somebody waits. A pattern
is tried only where each of its parts that must be there could begin a word of the sentence.
Covered: the shapes the rules use: letters, groups, alternatives, looks ahead and behind, repeats. What is not
understood is taken to match anything, so that a pattern may be tried in vain but is never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

LETTERS = 3
DIGIT, OTHER_SCRIPT = "#", "*"


class Beginnings:
    """Numbers for beginnings of words, so that many sets of them are compared at once."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def register(self, needs: Iterable[frozenset[str]]) -> tuple[int, ...]:
        """Each set as a number with one bit for each of its beginnings."""
        return tuple(
            sum(self._bits.setdefault(begin, 1 << len(self._bits)) for begin in sorted(needed))
            for needed in needs
        )

    def of(self, words: Iterable[str]) -> int:
        """The beginnings of all words, as far as they are registered."""
        bits, found = self._bits, 0
        for begin in list_beginnings(words):
            found |= bits.get(begin, 0)
        return found


def list_beginnings(words: Iterable[str]) -> set[str]:
    """The first one, two and three letters of each word; marks for a number and for another script."""
    found: set[str] = set()
    for word in words:
        if word[0].isdigit():
            found.add(DIGIT)
        if not word.isascii():
            found.add(OTHER_SCRIPT)
        found.update((word[:1], word[:2], word[:LETTERS]))
    return found


@dataclass
class _Run:
    """What a run of parts needs: sets of beginnings, of each of which one must be there."""

    needs: list[frozenset[str]] = field(default_factory=list)
    begins_word: bool = True


def required_beginnings(pattern: str) -> tuple[frozenset[str], ...]:
    """Sets of beginnings; whatever the pattern matches holds a word for one of each set."""
    needs = _Reader(pattern).read_choice(begins_word=True).needs
    if not needs and not pattern.isascii():
        return (frozenset((OTHER_SCRIPT,)),)
    return tuple(needs)


class _Reader:
    """Reads one pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._place = 0

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def read_choice(self, begins_word: bool) -> _Run:
        """Alternatives up to a closing bracket: together they need one of what each needs first of all."""
        runs = [self._read_run(begins_word)]
        while self._peek() == "|":
            self._place += 1
            runs.append(self._read_run(begins_word))
        begins = all(run.begins_word for run in runs)
        if len(runs) == 1:
            return _Run(runs[0].needs, begins)
        if not all(run.needs for run in runs):
            return _Run([], begins)
        return _Run([frozenset[str]().union(*(min(run.needs, key=_commonness) for run in runs))], begins)

    def _read_run(self, begins_word: bool) -> _Run:
        run = _Run([], begins_word)
        while self._peek() not in ("", "|", ")"):
            if self._peek() == "(":
                self._read_group(run)
            else:
                self._read_word(run)
        return run

    def _read_group(self, run: _Run) -> None:
        """A group; one that looks ahead or behind needs nothing of its own."""
        self._place += 1
        looks = False
        if self._peek() == "?":
            looks = not self._text.startswith("?:", self._place)
            self._place += 2 + self._text.startswith(("?<!", "?<="), self._place)
        inner = self.read_choice(run.begins_word)
        self._place += 1
        optional = self._read_repeat()
        if looks:
            return
        if not optional:
            run.needs += inner.needs
        run.begins_word = inner.begins_word and (run.begins_word or not optional)

    def _read_word(self, run: _Run) -> None:
        """Letters up to the next group, space or alternative; their beginning, where a word begins there."""
        kept, certain = "", run.begins_word
        ends_in_space = False
        first = True
        while (char := self._peek()) not in ("", "|", ")", "("):
            char = self._read_one()
            optional = self._read_repeat()
            ends_in_space = char == " " and not optional
            if char == " ":
                break
            if len(char) > 1 or char in ".^$" or optional:
                if first and char == "\\d" and certain and not optional:
                    kept = DIGIT
                certain = certain and char in ("^",)
            elif certain and len(kept) < LETTERS:
                kept += DIGIT if char.isdigit() and not kept else char
                certain = kept != DIGIT
            first = False
        if kept:
            run.needs.append(frozenset((kept if kept.isascii() else OTHER_SCRIPT,)))
        run.begins_word = ends_in_space

    def _read_one(self) -> str:
        """One character, an escape, or a class in brackets."""
        start = self._place
        if self._peek() == "\\":
            self._place += 2
        elif self._peek() == "[":
            self._place = self._text.index("]", start + 2) + 1
        else:
            self._place += 1
        return self._text[start : self._place]

    def _read_repeat(self) -> bool:
        """Pass over a repeat; whether it allows none."""
        optional = False
        if self._peek() == "{":
            end = self._text.index("}", self._place)
            optional = self._text[self._place + 1] == "0"
            self._place = end + 1
        elif self._peek() and self._peek() in "?*+":
            optional = self._peek() in "?*"
            self._place += 1
        if self._peek() and self._peek() in "?+":
            self._place += 1
        return optional


def _commonness(needs: frozenset[str]) -> int:
    """How likely some text is to hold one of these; short beginnings are in every text."""
    return sum(1 if len(begin) >= LETTERS else 40 // len(begin) for begin in needs)

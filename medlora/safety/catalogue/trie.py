"""Find every listed phrase in a run of words, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_END = "\0"
_MAX_SKIPPED = 3
_LONGEST = 24
_ENDING = re.compile(
    r"|s|es|ed|d|e|ing|ers?|y|ly|ness|ions?|ic|al|ation|ity|ies|ied|ting|ted|ping|ped|ning|ned|ming|med|ingly|ory|ive"
    r"|ism|ous|ias?|ment|able|ably|th|ts?|ful|ors?|ent|ence|ance|ant"
)
Node = dict[str, "Node | list[int]"]
Hit = tuple[int, int]


class PhraseTrie:
    """Phrases over word patterns: `word`, `word*` (begins so) and `#` (a number).

    Small words between two words of a phrase (articles, possessives, intensifiers) may be skipped, so that
    "clutch* chest" finds "clutching at his own chest" when those are listed as fillers.
    """

    def __init__(self, fillers: Iterable[str], numbers: Iterable[str]) -> None:
        self._root: Node = {}
        self._literals: set[str] = set()
        self._prefixes: set[str] = set()
        self._fillers = frozenset(fillers)
        self._numbers = frozenset(numbers)
        self._keys: dict[str, tuple[str, ...]] = {}

    def add(self, phrase: str, number: int) -> None:
        """Add one phrase under the number of its term list."""
        node = self._root
        for pattern in phrase.split():
            (self._prefixes if pattern.endswith("*") else self._literals).add(pattern)
            child = node.setdefault(pattern, {})
            if isinstance(child, dict):
                node = child
        ends = node.setdefault(_END, [])
        if isinstance(ends, list):
            ends.append(number)

    def knows(self, word: str) -> bool:
        """Whether any phrase holds a word that this one matches."""
        return word in self._literals or word in self._fillers or bool(self._find_prefixes(word))

    def knows_form(self, word: str) -> bool:
        """Whether a word is listed, or a listed beginning with an ordinary ending."""
        if word in self._literals or word in self._fillers:
            return True
        return any(_ENDING.fullmatch(word[len(key) - 1 :]) for key in self._find_prefixes(word))

    def is_filler(self, word: str) -> bool:
        """Whether a phrase may skip this word."""
        return word in self._fillers

    @property
    def literals(self) -> frozenset[str]:
        return frozenset(self._literals)

    def _find_prefixes(self, word: str) -> list[str]:
        prefixes = self._prefixes
        return [
            key for end in range(2, min(len(word), _LONGEST) + 1) if (key := word[:end] + "*") in prefixes
        ]

    def _patterns(self, word: str) -> tuple[str, ...]:
        keys = self._keys.get(word)
        if keys is None:
            found = [word] if word in self._literals else []
            found += self._find_prefixes(word)
            if word[0].isdigit() or word in self._numbers:
                found.append("#")
            keys = tuple(found)
            if len(self._keys) < 50_000:
                self._keys[word] = keys
        return keys

    def find(self, words: Sequence[str], sentences: Sequence[int]) -> dict[int, list[Hit]]:
        """Every hit by term list, in the order of the text; a phrase never spans two sentences."""
        hits: dict[int, list[Hit]] = {}
        patterns = [self._patterns(word) for word in words]
        for start, keys in enumerate(patterns):
            for key in keys:
                child = self._root.get(key)
                if isinstance(child, dict):
                    self._collect(child, start, start + 1, hits)
                    if len(child) > (_END in child):
                        self._follow(child, start, words, sentences, patterns, hits)
        for found in hits.values():
            found.sort()
        return hits

    def _follow(
        self,
        node: Node,
        start: int,
        words: Sequence[str],
        sentences: Sequence[int],
        patterns: Sequence[tuple[str, ...]],
        hits: dict[int, list[Hit]],
    ) -> None:
        """Every longer phrase that goes on from a first word."""
        sentence, total, fillers = sentences[start], len(words), self._fillers
        stack: list[tuple[Node, int, int]] = [(node, start + 1, 0)]
        while stack:
            node, place, skipped = stack.pop()
            if place >= total or sentences[place] != sentence:
                continue
            for key in patterns[place]:
                child = node.get(key)
                if isinstance(child, dict):
                    self._collect(child, start, place + 1, hits)
                    if len(child) > (_END in child):
                        stack.append((child, place + 1, 0))
            if skipped < _MAX_SKIPPED and words[place] in fillers:
                stack.append((node, place + 1, skipped + 1))

    @staticmethod
    def _collect(node: Node, start: int, end: int, hits: dict[int, list[Hit]]) -> None:
        """Note the term lists whose phrase ends at this node."""
        for number in node.get(_END, ()):
            hits.setdefault(int(number), []).append((start, end))

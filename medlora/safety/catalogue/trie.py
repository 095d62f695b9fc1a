"""Find every listed phrase in a run of words, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medlora.safety.catalogue.hits import Hits

_END = "\0"
_MAX_SKIPPED = 3
_LONGEST = 24
_ENDING = re.compile(
    r"|s|es|ed|d|e|ing|ers?|y|ly|ness|ions?|ic|al|ation|ity|ies|ied|ting|ted|ping|ped|ning|ned|ming|med|ingly|ory|ive"
    r"|ism|ous|ias?|ment|able|ably|th|ts?|ful|ors?|ent|ence|ance|ant"
)
Node = dict[str, "Node | int"]


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
        self._lists: list[set[int]] = []
        self._phrases: dict[int, set[int]] = {}
        self.lists_of: tuple[frozenset[int], ...] = ()
        self.phrases_of: dict[int, frozenset[int]] = {}

    def add(self, phrase: str, number: int) -> None:
        """Add one phrase under the number of its term list."""
        node = self._root
        for pattern in phrase.split():
            (self._prefixes if pattern.endswith("*") else self._literals).add(pattern)
            child = node.setdefault(pattern, {})
            if isinstance(child, dict):
                node = child
        found = node.setdefault(_END, len(self._lists))
        if found == len(self._lists):
            self._lists.append(set())
        if isinstance(found, int):
            self._lists[found].add(number)
            self._phrases.setdefault(number, set()).add(found)

    def freeze(self) -> None:
        """Make the lists of each phrase ready for searching, once everything is added."""
        self.lists_of = tuple(frozenset(numbers) for numbers in self._lists)
        self.phrases_of = {number: frozenset(phrases) for number, phrases in self._phrases.items()}

    def knows(self, word: str) -> bool:
        """Whether any phrase holds a word that this one matches."""
        return word in self._literals or word in self._fillers or bool(self._find_prefixes(word))

    def knows_form(self, word: str) -> bool:
        """Whether a word is listed, or a listed beginning with an ordinary ending."""
        if word in self._literals or word in self._fillers:
            return True
        return any(_ENDING.fullmatch(word[len(key) - 1 :]) for key in self._find_prefixes(word))

    def lists_word(self, word: str) -> bool:
        """Whether a phrase holds this very word."""
        return word in self._literals

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

    def find(self, words: Sequence[str], sentences: Sequence[int]) -> Hits:
        """Every phrase, wherever it stands; a phrase never spans two sentences."""
        hits = Hits(self.lists_of, self.phrases_of)
        patterns = [self._patterns(word) for word in words]
        root = self._root
        for start, keys in enumerate(patterns):
            for key in keys:
                child = root.get(key)
                if isinstance(child, dict):
                    phrase = child.get(_END)
                    if isinstance(phrase, int):
                        hits.note(phrase, start, start + 1)
                    if phrase is None or len(child) > 1:
                        self._follow(child, start, words, sentences, patterns, hits)
        return hits

    def _follow(
        self,
        node: Node,
        start: int,
        words: Sequence[str],
        sentences: Sequence[int],
        patterns: Sequence[tuple[str, ...]],
        hits: Hits,
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
                    phrase = child.get(_END)
                    if isinstance(phrase, int):
                        hits.note(phrase, start, place + 1)
                    if phrase is None or len(child) > 1:
                        stack.append((child, place + 1, 0))
            if skipped < _MAX_SKIPPED and words[place] in fillers:
                stack.append((node, place + 1, skipped + 1))

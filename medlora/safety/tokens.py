"""Cut folded text into tokens: words in their plain form, with their places, sentences and clauses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from medlora.safety.normalise import Folded, fold

_TOKEN = re.compile(
    r"<\|?/?[a-z_ ]{1,20}\|?>|\[/?(?:inst|system|user|assistant)\]"  # role tags
    r"|\d+(?:[.,]\d+)*(?=\D|$)|[^\W\d_]+(?:[''][^\W\d_]+)*(?:[\d$@]+[^\W\d_]+)*|[.!?]+|[^\w\s]|_+|\n+"
)
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .\-*_·]{1,2}){3,40}[^\W\d_](?![^\W_])")
_LEET = str.maketrans("013457@$", "oieastas")
_LEAST_UNDOUBLED = 4
_TITLES = frozenset(("st", "dr", "mr", "mrs"))
_SENTENCE = frozenset(".!?\n")


@dataclass
class Tokens:
    """One or more turns as parallel lists. `starts` and `ends` count original characters of the turn."""

    words: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    sentences: list[int] = field(default_factory=list)
    clauses: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class WordForms:
    """How written forms become plain ones; data of the catalogue.

    `expansions` gives the words of a contraction or an abbreviation; `contextual` those that hold only
    beside certain words; `breaks` the words that open a new clause.
    """

    expansions: Mapping[str, tuple[str, ...]]
    contextual: Mapping[str, tuple[tuple[str, ...], frozenset[str]]]
    breaks: frozenset[str]
    known: Callable[[str], bool]
    known_form: Callable[[str], bool]
    listed: Callable[[str], bool]
    correct: Callable[[str], str | None]
    common: frozenset[str]


class Tokenizer:
    """Cuts texts with the word forms of one catalogue."""

    def __init__(self, forms: WordForms) -> None:
        self._forms = forms
        self._plain_cache: dict[str, tuple[str, ...]] = {}

    def is_common(self, word: str) -> bool:
        """Whether a word is a common one that is never taken for a slip."""
        return word in self._forms.common

    def read(self, text: str, turn: int, into: Tokens) -> Tokens:
        """Add the tokens of one turn."""
        folded = fold(text)
        pieces = self._cut(folded)
        nearby = frozenset(piece[0] for piece in pieces)
        sentence = into.sentences[-1] + 1 if into.sentences else 0
        clause = into.clauses[-1] + 1 if into.clauses else 0
        for number, (raw, start, end) in enumerate(pieces):
            if raw == "." and number and pieces[number - 1][0] in _TITLES:
                continue
            if raw[0] in _SENTENCE or (raw[0] in "<[" and len(raw) > 1):
                sentence += 1
                clause += 1
                continue
            if raw in ";:()" or raw in self._forms.breaks:
                clause += 1
            first, last = folded.span(start, end)
            for word in self._plain(raw, nearby):
                if not word:
                    continue
                into.words.append(word)
                into.starts.append(first)
                into.ends.append(last)
                into.turns.append(turn)
                into.sentences.append(sentence)
                into.clauses.append(clause)
        return into

    def _cut(self, folded: Folded) -> list[tuple[str, int, int]]:
        """(raw token, start, end) in folded characters, words spelt out letter by letter put together."""
        pieces: list[tuple[str, int, int]] = []
        place = 0
        for spaced in _SPACED.finditer(folded.text):
            joined = "".join(c for c in spaced.group() if c.isalpha())
            words = self._segment(joined)
            if not words:
                continue
            pieces += _find_tokens(folded.text, place, spaced.start())
            pieces += [(word, spaced.start(), spaced.end()) for word in words]
            place = spaced.end()
        return pieces + _find_tokens(folded.text, place, len(folded.text))

    def _segment(self, joined: str) -> list[str]:
        """The known words a run of letters is made of, longest first; empty when it is not made of them."""
        words: list[str] = []
        place = 0
        while place < len(joined):
            for end in range(min(len(joined), place + 16), place, -1):
                if self._forms.known_form(joined[place:end]) and (end - place > 1 or joined[place] == "i"):
                    words.append(joined[place:end])
                    place = end
                    break
            else:
                return []
        return words

    def _plain(self, raw: str, nearby: frozenset[str]) -> tuple[str, ...]:
        contextual = self._forms.contextual.get(raw)
        if contextual and nearby & contextual[1]:
            return contextual[0]
        cached = self._plain_cache.get(raw)
        if cached is None:
            cached = self._reduce(raw)
            if len(self._plain_cache) < 50_000:
                self._plain_cache[raw] = cached
        return cached

    def _reduce(self, raw: str) -> tuple[str, ...]:
        """The plain words of one raw token: expanded, unrepeated, with a critical typo put right."""
        forms = self._forms
        if not raw[:1].isalnum():
            return (raw,)
        if raw in forms.expansions:
            return forms.expansions[raw]
        if raw[0].isdigit():
            return (
                raw.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+", raw) else raw.replace(",", "."),
            )
        word = raw
        if any(c in "013457@$" for c in word):
            word = word.translate(_LEET)
        if "'" in word:
            return self._split_apostrophe(word.strip("'")) if word.strip("'") else (raw,)
        if forms.known_form(word):
            return (word,)
        for pattern in (r"\1\1", r"\1"):
            shorter = re.sub(r"(.)\1{2,}", pattern, word)
            if shorter != word and shorter in forms.expansions:
                return forms.expansions[shorter]
            if shorter != word and forms.known(shorter):
                return (shorter,)
        word = re.sub(r"(.)\1{2,}", r"\1", word)
        meant = self._undouble(word) or forms.correct(word) or word
        return forms.expansions.get(meant, (meant,))

    def _undouble(self, word: str) -> str | None:
        """The listed word that is meant where one letter was typed twice: "haard"."""
        if word in self._forms.common:
            return None
        for doubled in re.finditer(r"(.)\1", word):
            shorter = word[: doubled.start()] + word[doubled.start() + 1 :]
            if len(shorter) >= _LEAST_UNDOUBLED and self._forms.listed(shorter):
                return shorter
        return None

    def _split_apostrophe(self, word: str) -> tuple[str, ...]:
        if "'" not in word:
            return self._reduce(word)
        stem, _, tail = word.rpartition("'")
        if tail == "s":
            return (self._reduce(stem)[0],) if stem else ("s",)
        if tail == "t" and stem.endswith("n"):
            return (*self._reduce(stem[:-1]), "not")
        endings = {"re": "are", "m": "am", "ve": "have", "ll": "will", "d": "would"}
        if tail in endings and stem:
            return (*self._reduce(stem), endings[tail])
        return self._reduce(word.replace("'", ""))


def _find_tokens(text: str, start: int, end: int) -> list[tuple[str, int, int]]:
    return [(found.group(), found.start(), found.end()) for found in _TOKEN.finditer(text, start, end)]

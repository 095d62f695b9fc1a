"""Which words of a text a negation reaches.

A negation reaches forward within its clause and is ended by words such as but, however, although, now; by a
new subject; and by the end of a short reach that a list ("no pain, fever or cough") renews.
"""

from __future__ import annotations

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.hits import Hit, Hits
from medlora.safety.tokens import Tokens

LIST_WORDS = frozenset((",", "or", "nor", "/", "ni", "ou", "oder", "atau", "o"))
_REACH = 7
_AND_WORDS = frozenset(("and", "y", "et", "und", "dan", ","))
_VERBS = frozenset(("is", "are", "was", "were", "has", "feels", "hurts"))
# A listed phrase made of these alone ("do not want") is no sign: what it denies comes after it.
_FUNCTION_WORDS = frozenset(
    ["never", "no", "not", "had", "has", "have", "felt", "do", "does", "did", "want", "plan", "planning"]
)


def sweep_negations(catalogue: Catalogue, tokens: Tokens, hits: Hits, language: str) -> dict[int, Hit]:
    """Each token that is denied, with the cue that denies it."""
    return _Sweep(catalogue, tokens, hits, language).run()


class _Sweep:
    def __init__(self, catalogue: Catalogue, tokens: Tokens, hits: Hits, language: str) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._hits = hits
        self._language = language
        self._scope_ends = frozenset(start for start, _ in self._cue("scope_end"))

    def _cue(self, role: str) -> list[Hit]:
        number = self._catalogue.cues.get((self._language, f"cue_{role}"))
        return self._hits.of(number) if number is not None else []

    def run(self) -> dict[int, Hit]:
        """Which negation reaches which token."""
        taken = self._consumed_by_phrases()
        covered: dict[int, Hit] = {}
        tokens, words = self._tokens, self._tokens.words
        cues = self._cue("negation")
        openings = {cue[0] for cue in cues}
        for cue in cues:
            if taken.get(cue[0], 0) >= cue[1] or self._is_interjection(cue):
                continue
            left = _REACH
            place = cue[1]
            while place < len(words) and left > 0 and tokens.clauses[place] == tokens.clauses[cue[0]]:
                word = words[place]
                if word in LIST_WORDS:
                    left = _REACH
                if self._opens_subject(place) or (place in openings and place not in taken):
                    break
                covered[place] = cue
                left -= 1
                place += 1
        return covered

    def _is_interjection(self, cue: Hit) -> bool:
        """Whether a bare "no" opens a sentence about someone: "no my chest hurts"."""
        words = self._tokens.words
        follows = words[cue[1]] if cue[1] < len(words) else ""
        return (
            words[cue[0]] == "no"
            and cue[1] - cue[0] == 1
            and (follows in self._catalogue.subjects or follows in _AND_WORDS)
        )

    def _opens_subject(self, place: int) -> bool:
        """Whether a new subject or verb begins here, after "and" or a comma: the negation ends."""
        words = self._tokens.words
        if place + 1 >= len(words) or words[place] not in _AND_WORDS:
            return place in self._scope_ends
        if words[place] == "," and _VERBS.intersection(words[place + 2 : place + 5]):
            return True
        return words[place + 1] in self._catalogue.subjects

    def _consumed_by_phrases(self) -> dict[int, int]:
        """For each token the furthest end of a phrase that holds it: "not breathing", "not sure"."""
        ends: dict[int, int] = {}
        pseudo = self._catalogue.cues.get((self._language, "cue_pseudo_negation"), -1)
        signs = self._catalogue.multiword
        for phrase, found in self._hits.phrases().items():
            numbers = self._catalogue.trie.lists_of[phrase]
            if pseudo not in numbers and not numbers & signs:
                continue
            for start, end in found:
                if end - start > 1 and not _FUNCTION_WORDS.issuperset(self._tokens.words[start:end]):
                    for place in range(start, end):
                        ends[place] = max(ends.get(place, 0), end)
        return ends

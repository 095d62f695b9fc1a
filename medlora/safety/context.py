"""What surrounds a finding: denied, past, someone else's, imagined, asked about, a figure of speech.

The cues are term lists of the catalogue, per language. A negation reaches forward within its clause and is
ended by words such as but, however, although, now; by a new subject; and by the end of a short reach that
a list ("no pain, fever or cough") renews.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.trie import Hit
from medlora.safety.levels import Level
from medlora.safety.tokens import Tokens

_REACH = 7
_CUE_REACH = 14
_OPENING = 8
_ECHOES = 6
_ASKING = frozenset(
    (
        "tell",
        "give",
        "show",
        "help",
        "do",
        "can",
        "should",
        "would",
        "could",
        "does",
        "for",
        "to",
        "did",
        "might",
        "may",
    )
)
_LIST_WORDS = frozenset((",", "or", "nor", "/", "ni", "ou", "oder", "atau", "o"))
_AND_WORDS = frozenset(("and", "y", "et", "und", "dan", ","))
_CLAUSE_CUES = ("history", "chronic", "resolved", "hypothetical", "family")
_DROPPING = frozenset(("negated", "definitional", "idiom", "family"))
_SOFTENING = frozenset(("historical", "chronic", "resolved", "hypothetical"))
_NAMES = {"history": "historical"}


def soften(level: Level, contexts: frozenset[str], keeps: frozenset[str]) -> Level | None:
    """The level a context leaves of a finding's own; None when the finding is dropped."""
    counting = contexts - keeps
    if counting & _DROPPING:
        return None
    if counting & _SOFTENING:
        return min(level, Level.CAUTION)
    return level


@dataclass
class _Sentence:
    """The tokens of one sentence and what was found of it as a whole."""

    start: int
    end: int
    general: bool = False


class Surroundings:
    """The cues of one tokenised text, in one language, ready to be asked about findings."""

    def __init__(
        self, catalogue: Catalogue, tokens: Tokens, hits: dict[int, list[Hit]], language: str
    ) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._hits = hits
        self._language = language
        self._cues: dict[str, list[Hit]] = {}
        self._scope_ends = frozenset(start for start, _ in self.cue("scope_end"))
        self._sentences = _split_sentences(tokens)
        self._negated_by = self._sweep_negations()
        self._mark_general_sentences()

    def cue(self, role: str) -> list[Hit]:
        """The hits of one cue list."""
        if role not in self._cues:
            number = self._catalogue.cues.get((self._language, f"cue_{role}"))
            self._cues[role] = self._hits.get(number, []) if number is not None else []
        return self._cues[role]

    def contexts_of(self, items: tuple[Hit, ...]) -> frozenset[str]:
        """The names of every context that applies to a finding made of these hits."""
        own = {place for start, end in items for place in range(start, end)}
        found: set[str] = set()
        if any(self._is_negated(item, own) for item in items):
            found.add("negated")
        if any(_overlaps(self.cue("idiom"), item) for item in items):
            found.add("idiom")
        first_aid = any(self._in_sentence("first_aid", item) for item in items)
        for item in items:
            sentence = self._sentences[self._tokens.sentences[item[0]]]
            if sentence.general and not first_aid:
                found.add("definitional")
            for role in _CLAUSE_CUES:
                if role == "hypothetical" and (first_aid or self._in_sentence("present", item)):
                    continue
                if _NAMES.get(role, role) not in found and self._cue_covers(role, item, own):
                    found.add(_NAMES.get(role, role))
            if self._in_sentence("fiction", item):
                found.add("hypothetical")
            if self._in_sentence("third", item):
                found.add("third_person")
        if found & {"historical", "chronic"} and any(self._is_acute(item) for item in items):
            found -= {"historical", "chronic"}
        return frozenset(found)

    def _is_negated(self, item: Hit, own: set[int]) -> bool:
        cue = self._negated_by.get(item[0])
        if cue is not None and not own.intersection(range(*cue)):
            return not self._followed_by("like_this", item)
        return self._denied_after(item, own)

    def _denied_after(self, item: Hit, own: set[int]) -> bool:
        """Post-negation: "chest pain: none", "stroke has been ruled out"."""
        start = item[1]
        for cue in _between(self.cue("post_negation"), start, start + 4):
            same = self._tokens.sentences[cue[0]] == self._tokens.sentences[item[0]]
            if same and not own.intersection(range(*cue)):
                return all(
                    self._tokens.words[place] not in self._catalogue.subjects
                    for place in range(start, cue[0])
                )
        return False

    def _followed_by(self, role: str, item: Hit) -> bool:
        return any(
            self._tokens.sentences[cue[0]] == self._tokens.sentences[item[0]]
            for cue in _between(self.cue(role), item[1], item[1] + 6)
        )

    def _cue_covers(self, role: str, item: Hit, own: set[int]) -> bool:
        """Whether a cue of that role stands in the item's clause; one of recovery, later in its sentence."""
        if role == "history" and self._told_as_past(item):
            return True
        numbers = self._tokens.sentences if role == "resolved" else self._tokens.clauses
        first = item[1] if role == "resolved" else item[0] - _CUE_REACH
        return any(
            numbers[cue[0]] == numbers[item[0]] and not own.issuperset(range(*cue))
            for cue in _between(self.cue(role), first, item[1] + _CUE_REACH)
        )

    def _told_as_past(self, item: Hit) -> bool:
        """Whether the next sentence says when it was: "that was over a month ago"."""
        after = self._sentences.get(self._tokens.sentences[item[0]] + 1)
        if after is None:
            return False
        opens = _between(self.cue("back_reference"), after.start, after.start + 2)
        return bool(opens) and bool(_between(self.cue("history"), after.start, after.start + _CUE_REACH))

    def is_echo_of_past(self, items: tuple[Hit, ...], numbers: tuple[int, ...]) -> bool:
        """Whether one of the signs is called long-standing elsewhere and nothing here says it is new."""
        if any(self._is_acute(item) or self._in_sentence("present", item) for item in items):
            return False
        pairs = zip(items, numbers, strict=True)
        return any(self.is_long_standing(item, self._hits[number]) for item, number in pairs)

    def is_long_standing(self, item: Hit, others: Sequence[Hit]) -> bool:
        """Whether the same sign, elsewhere in the turn, has gone on for long; false when it is new here."""
        if self._is_acute(item) or self._in_sentence("present", item):
            return False
        turns = self._tokens.turns
        return any(
            other != item
            and turns[other[0]] == turns[item[0]]
            and self._cue_covers("chronic", other, set())
            and not self._is_acute(other)
            for other in others[:_ECHOES]
        )

    def _in_sentence(self, role: str, item: Hit) -> bool:
        sentence = self._sentences[self._tokens.sentences[item[0]]]
        return _any_between(self.cue(role), sentence.start, sentence.end)

    def _is_acute(self, item: Hit) -> bool:
        """Whether the clause says that it is happening now."""
        clause = self._tokens.clauses[item[0]]
        return any(
            self._tokens.clauses[cue[0]] == clause
            for cue in _between(self.cue("acute"), item[0] - 14, item[1] + 14)
        )

    def _sweep_negations(self) -> dict[int, Hit]:
        """Which negation reaches which token."""
        taken = self._consumed_by_phrases()
        covered: dict[int, Hit] = {}
        tokens, words = self._tokens, self._tokens.words
        cues = self.cue("negation")
        openings = {cue[0] for cue in cues}
        for cue in cues:
            if taken.get(cue[0], 0) >= cue[1] or self._is_interjection(cue):
                continue
            left = _REACH
            place = cue[1]
            while place < len(words) and left > 0 and tokens.clauses[place] == tokens.clauses[cue[0]]:
                word = words[place]
                if word in _LIST_WORDS:
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
        return words[place + 1] in self._catalogue.subjects

    def _consumed_by_phrases(self) -> dict[int, int]:
        """For each token the furthest end of a phrase that holds it: "not breathing", "not sure"."""
        ends: dict[int, int] = {}
        pseudo = self._catalogue.cues.get((self._language, "cue_pseudo_negation"))
        for number, found in self._hits.items():
            if number in self._catalogue.multiword or number == pseudo:
                for start, end in found:
                    if end - start > 1:
                        for place in range(start, end):
                            ends[place] = max(ends.get(place, 0), end)
        return ends

    def _mark_general_sentences(self) -> None:
        """A sentence that asks about a subject, not about a person who has it."""
        for cue in self.cue("definitional"):
            sentence = self._sentences[self._tokens.sentences[cue[0]]]
            if sentence.general or cue[0] - sentence.start > _OPENING:
                continue
            acute = _any_between(self.cue("course"), sentence.start, sentence.end)
            sentence.general = not acute and not self._is_personal(sentence, cue)

    def _is_personal(self, sentence: _Sentence, cue: Hit) -> bool:
        """Whether the sentence names someone who has it, beyond the one who asks."""
        words, persons = self._tokens.words, self._catalogue.persons
        for place in range(sentence.start, sentence.end):
            if words[place] not in persons or cue[0] <= place < cue[1]:
                continue
            asks = place > sentence.start and words[place - 1] in _ASKING
            begins = place == sentence.start and words[place] == "i"
            if not (asks or begins):
                return True
        return False


def _split_sentences(tokens: Tokens) -> dict[int, _Sentence]:
    sentences: dict[int, _Sentence] = {}
    for place, number in enumerate(tokens.sentences):
        sentences.setdefault(number, _Sentence(place, place)).end = place + 1
    return sentences


def _between(hits: list[Hit], start: int, end: int) -> list[Hit]:
    """The hits that begin in [start, end)."""
    return hits[bisect_left(hits, (start, 0)) : bisect_left(hits, (end, 0))]


def _any_between(hits: list[Hit], start: int, end: int) -> bool:
    """Whether a hit begins in [start, end)."""
    index = bisect_left(hits, (start, 0))
    return index < len(hits) and hits[index][0] < end


def _overlaps(hits: list[Hit], item: Hit) -> bool:
    """Whether a hit shares a token with the item."""
    return any(end > item[0] for _, end in _between(hits, item[0] - 8, item[1]))

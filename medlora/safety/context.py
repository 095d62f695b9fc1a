"""What surrounds a finding: denied, past, someone else's, imagined, asked about, a figure of speech.

The cues are term lists of the catalogue, per language. A negation reaches forward within its clause and is
ended by words such as but, however, although, now; by a new subject; and by the end of a short reach that
a list ("no pain, fever or cough") renews.
"""

from __future__ import annotations

from collections.abc import Sequence

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.hits import Hit, Hits
from medlora.safety.general import mark_general
from medlora.safety.levels import Level
from medlora.safety.negation import LIST_WORDS, sweep_negations
from medlora.safety.places import any_between, find_between, overlap, split_sentences
from medlora.safety.tokens import Tokens

_CUE_REACH = 14
_ECHOES = 6
_PAPER_CUES = 4
_STORY_WORDS, _STORY_CUES = 40, 3
_PERSONAL = frozenset(("i", "my", "me", "myself", "he", "she", "him", "you", "help", "please", "now"))
_CLAUSE_CUES = ("history", "chronic", "resolved", "hypothetical", "family", "family_trait")
_DROPPING = frozenset(("negated", "definitional", "idiom", "family"))
_SOFTENING = frozenset(("historical", "chronic", "resolved", "hypothetical"))
_PAST_CUES = frozenset(("history", "chronic"))
_FLAT_DENIALS = frozenset(("no", "none", "nope", "nah", "never", "nothing"))
_NAMES = {"history": "historical", "family_trait": "family"}


def soften(level: Level, contexts: frozenset[str], keeps: frozenset[str]) -> Level | None:
    """The level a context leaves of a finding's own; None when the finding is dropped."""
    counting = contexts - keeps
    if counting & _DROPPING:
        return None
    if counting & _SOFTENING:
        return min(level, Level.CAUTION)
    return level


class Surroundings:
    """The cues of one tokenised text, in one language, ready to be asked about findings."""

    def __init__(self, catalogue: Catalogue, tokens: Tokens, hits: Hits, language: str) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._hits = hits
        self._language = language
        self._cues: dict[str, list[Hit]] = {}
        self._papers: dict[int, bool] = {}
        self._stories: dict[int, bool] = {}
        self._sentences = split_sentences(tokens)
        self._negated_by = sweep_negations(catalogue, tokens, hits, language)
        self._known: dict[tuple[Hit, ...], frozenset[str]] = {}
        self._covering: dict[tuple[str, Hit], tuple[bool, list[Hit]]] = {}
        self._facts: dict[tuple[str, Hit], bool] = {}
        self._roles = [role for role in _CLAUSE_CUES if self.cue(role)]
        mark_general(catalogue, tokens, self._sentences, self.cue)

    def cue(self, role: str) -> list[Hit]:
        """The hits of one cue list."""
        if role not in self._cues:
            number = self._catalogue.cues.get((self._language, f"cue_{role}"))
            self._cues[role] = self._hits.of(number) if number is not None else []
        return self._cues[role]

    def contexts_of(self, items: tuple[Hit, ...]) -> frozenset[str]:
        """The names of every context that applies to a finding made of these hits."""
        if items not in self._known:
            self._known[items] = self._find_contexts(items)
        return self._known[items]

    def _find_contexts(self, items: tuple[Hit, ...]) -> frozenset[str]:
        own = {place for start, end in items for place in range(start, end)}
        found: set[str] = set()
        if any(self._is_negated(item, own) for item in items):
            found.add("negated")
        if any(overlap(self.cue("idiom"), item) for item in items):
            found.add("idiom")
        first_aid = any(self._in_sentence("first_aid", item) for item in items)
        for item in items:
            sentence = self._sentences[self._tokens.sentences[item[0]]]
            if (sentence.general or self._is_paper(self._tokens.turns[item[0]])) and not first_aid:
                found.add("definitional")
            for role in self._roles:
                if role == "hypothetical" and (first_aid or self._in_sentence("present", item)):
                    continue
                if role in _PAST_CUES and self._is_no_past(item):
                    continue
                if self._cue_covers(role, item, own):
                    found.add(_NAMES.get(role, role))
            if self._tells_long_story(item):
                found.add("chronic")
            if self._in_sentence("fiction", item):
                found.add("hypothetical")
            if self._in_sentence("third", item):
                found.add("third_person")
        return frozenset(found)

    def _is_negated(self, item: Hit, own: set[int]) -> bool:
        cue = self._negated_by.get(item[0])
        if cue is not None and not own.intersection(range(*cue)):
            return not self._followed_by("like_this", item)
        return self._denied_after(item, own)

    def _denied_after(self, item: Hit, own: set[int]) -> bool:
        """Post-negation: "chest pain: none", "stroke has been ruled out"."""
        after = self._sentences.get(self._tokens.sentences[item[0]] + 1)
        if after and after.end - after.start <= 2 and self._tokens.words[after.start] in _FLAT_DENIALS:
            return True
        start = item[1]
        for cue in find_between(self.cue("post_negation"), start, start + 4):
            same = self._tokens.sentences[cue[0]] == self._tokens.sentences[item[0]]
            if same and self._opens_denial(cue):
                continue
            if same and not own.intersection(range(*cue)):
                return all(
                    self._tokens.words[place] not in self._catalogue.subjects
                    for place in range(start, cue[0])
                )
        return False

    def _opens_denial(self, cue: Hit) -> bool:
        """Whether a bare "no" denies what comes after it, not before: "chills, no appetite"."""
        words, end = self._tokens.words, cue[1]
        if words[cue[0]] != "no" or end - cue[0] > 1 or end >= len(words):
            return False
        same = self._tokens.sentences[end] == self._tokens.sentences[cue[0]]
        return same and words[end] not in LIST_WORDS

    def _followed_by(self, role: str, item: Hit) -> bool:
        return any(
            self._tokens.sentences[cue[0]] == self._tokens.sentences[item[0]]
            for cue in find_between(self.cue(role), item[1], item[1] + 6)
        )

    def _cue_covers(self, role: str, item: Hit, own: set[int]) -> bool:
        """Whether a cue of that role stands in the item's clause; one of recovery, later in its sentence.

        A cue that ends in "of" ("history of") speaks of what comes after it.
        """
        key = (role, item)
        if key not in self._covering:
            self._covering[key] = self._find_covering(role, item)
        told_as_past, cues = self._covering[key]
        return told_as_past or any(not own.issuperset(range(*cue)) for cue in cues)

    def _find_covering(self, role: str, item: Hit) -> tuple[bool, list[Hit]]:
        """Whether the next sentence tells an item as past, and the cues of a role that reach it."""
        if role == "history" and self._told_as_past(item):
            return True, []
        numbers = self._tokens.sentences if role == "resolved" else self._tokens.clauses
        first = item[1] if role == "resolved" else item[0] - _CUE_REACH
        last = item[0] if role == "family" else item[1] + _CUE_REACH
        return False, [
            cue
            for cue in find_between(self.cue(role), first, last)
            if (numbers[cue[0]] == numbers[item[0]] or self._introduces(cue, item))
            and not (cue[0] > item[0] and self._tokens.words[cue[1] - 1] == "of")
        ]

    def _introduces(self, cue: Hit, item: Hit) -> bool:
        """Whether a cue heads what follows it: "family history: ..."."""
        words, clauses = self._tokens.words, self._tokens.clauses
        heads = cue[1] < len(words) and words[cue[1]] == ":"
        return heads and clauses[cue[1]] == clauses[item[0]] and item[0] > cue[1]

    def _tells_long_story(self, item: Hit) -> bool:
        """Whether a long turn speaks of a long-standing matter, and this sentence of nothing new."""
        turns = self._tokens.turns
        turn = turns[item[0]]
        if turn not in self._stories:
            words = sum(1 for other in turns if other == turn)
            past = sum(1 for role in _PAST_CUES for cue in self.cue(role) if turns[cue[0]] == turn)
            self._stories[turn] = words > _STORY_WORDS and past >= _STORY_CUES
        if not self._stories[turn]:
            return False
        return not any(self._in_sentence(role, item) for role in ("acute", "present", "course"))

    def _told_as_past(self, item: Hit) -> bool:
        """Whether the next sentence says when it was: "that was over a month ago"."""
        after = self._sentences.get(self._tokens.sentences[item[0]] + 1)
        if after is None:
            return False
        opens = find_between(self.cue("back_reference"), after.start, after.start + 2)
        return bool(opens) and bool(find_between(self.cue("history"), after.start, after.start + _CUE_REACH))

    def holds(self, item: Hit) -> bool:
        """Whether a sign is meant as it stands: no context drops or softens it."""
        return not self.contexts_of((item,)) & (_DROPPING | _SOFTENING)

    def is_general(self, items: tuple[Hit, ...]) -> bool:
        """Whether one of the hits stands in a general question or in a research abstract."""
        tokens = self._tokens
        return any(
            self._sentences[tokens.sentences[item[0]]].general or self._is_paper(tokens.turns[item[0]])
            for item in items
        )

    def is_echo_of_past(self, items: tuple[Hit, ...], numbers: tuple[int, ...]) -> bool:
        """Whether one of the signs is called long-standing elsewhere and nothing here says it is new."""
        if any(self._is_acute(item) or self._in_sentence("present", item) for item in items):
            return False
        pairs = zip(items, numbers, strict=True)
        return any(self.is_long_standing(item, self._hits.of(number)) for item, number in pairs)

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
        if not self.cue(role):
            return False
        key = (role, item)
        if key not in self._facts:
            sentence = self._sentences[self._tokens.sentences[item[0]]]
            self._facts[key] = any_between(self.cue(role), sentence.start, sentence.end)
        return self._facts[key]

    def _is_no_past(self, item: Hit) -> bool:
        """Whether a word of the past makes an item no past: it is of now, or a known illness."""
        key = ("no_past", item)
        if key not in self._facts:
            self._facts[key] = self._is_acute(item) or overlap(self.cue("background"), item)
        return self._facts[key]

    def _is_acute(self, item: Hit) -> bool:
        """Whether the clause says that it is happening now."""
        clause = self._tokens.clauses[item[0]]
        return any(
            self._tokens.clauses[cue[0]] == clause
            for cue in find_between(self.cue("acute"), item[0] - 14, item[1] + 14)
        )

    def _is_paper(self, turn: int) -> bool:
        """Whether a turn reads like a research abstract: its words, many of them, and nobody's illness."""
        if turn not in self._papers:
            cues = [hit for hit in self.cue("academic") if self._tokens.turns[hit[0]] == turn]
            speaks = _PERSONAL.intersection(
                word
                for word, place in zip(self._tokens.words, self._tokens.turns, strict=True)
                if place == turn
            )
            self._papers[turn] = len(cues) >= _PAPER_CUES and not speaks
        return self._papers[turn]

"""A conversation as the safety layer sees it: the user's turns, pooled, with what sticks.

A crisis sticks until the user says they are safe, an emergency for three user turns; symptoms pool over
six user turns; a short turn is read together with an unfinished one before it. Nothing an assistant's or
a system's turn says counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.hits import Hit
from medlora.safety.decision import Finding
from medlora.safety.encoded import reveal
from medlora.safety.learned import find_crisis, find_danger, find_distress, weigh_words
from medlora.safety.levels import Level
from medlora.safety.match import Match, Reading
from medlora.safety.tally import is_meant_otherwise, weigh_against, weigh_from
from medlora.safety.tokens import Tokens

POOLED_TURNS = 6
STICKY_EMERGENCY_TURNS = 3
_FRAGMENT_WORDS = 8
_RULE_WEIGHT, _LEANS_AWAY = 4, -1.0
_TAKEN_BACK = 2


class Conversation:
    """The turns of one chat, read and matched."""

    def __init__(self, catalogue: Catalogue, turns: Sequence[tuple[str, str]]) -> None:
        self._catalogue = catalogue
        self._texts = {index: text for index, (role, text) in enumerate(turns) if role == "user"}
        self._order = list(self._texts)
        self.reading = Reading(catalogue, self._read(self._order[-POOLED_TURNS:]))
        self._last = self._order[-1] if self._order else 0
        places = [i for i, turn in enumerate(self.reading.tokens.turns) if turn == self._last]
        self.last_start = places[0] if places else len(self.reading.tokens)

    def _read(self, indices: Sequence[int]) -> Tokens:
        """The tokens of those turns, what is hidden in them included."""
        tokens = Tokens()
        for index in indices:
            text = self._texts[index]
            begin = len(tokens)
            self._catalogue.tokenizer.read(text, index, tokens)
            self._join_fragments(tokens, begin)
            for decoded, start, end in reveal(text):
                place = len(tokens)
                self._catalogue.tokenizer.read(decoded, index, tokens)
                added = len(tokens) - place
                tokens.starts[place:] = [start] * added
                tokens.ends[place:] = [end] * added
        return tokens

    def _join_fragments(self, tokens: Tokens, begin: int) -> None:
        """Let a short turn go on with the unfinished one before it, as if they were one sentence."""
        if begin == 0 or begin == len(tokens) or len(tokens) - begin > _FRAGMENT_WORDS:
            return
        before = self._texts[tokens.turns[begin - 1]].rstrip()
        if before.endswith((".", "!", "?")):
            return
        sentences = tokens.sentences[begin] - tokens.sentences[begin - 1]
        clauses = tokens.clauses[begin] - tokens.clauses[begin - 1]
        tokens.sentences[begin:] = [number - sentences for number in tokens.sentences[begin:]]
        tokens.clauses[begin:] = [number - clauses for number in tokens.clauses[begin:]]

    def is_clinician(self) -> bool:
        """Whether someone writes who treats the patient."""
        return self.reading.has("en", "clinician")

    def findings(self) -> tuple[list[Finding], list[Finding]]:
        """(what counts for the last turn, what its context dropped)."""
        live: list[Finding] = []
        dropped: list[Finding] = []
        by_turn: dict[int, list[Match]] = {}
        for match in self.reading.match():
            by_turn.setdefault(self._turn_of(match.items), []).append(match)
        levels: dict[int, Level] = {}
        for turn, matches in by_turn.items():
            for match in matches:
                level = self._settle(match, turn, matches)
                finding = self._finding_of(match, level)
                if level is not None:
                    levels[turn] = max(levels.get(turn, Level.ANSWER), level)
                if turn == self._last:
                    (live if level is not None else dropped).append(finding)
        for turn in self._order[-POOLED_TURNS:]:
            places = self._weigh_words(self.reading, turn, levels.get(turn), by_turn.get(turn, []))
            if places:
                levels[turn] = Level.CRISIS
                if turn == self._last:
                    live.append(self._finding_of_words(places, Level.CRISIS))
        if not live and not dropped:
            live += self._referrals_of_words()
        live += self._sticky(levels)
        return live, dropped

    def _weigh_words(
        self, reading: Reading, turn: int, level: Level | None, matches: Sequence[Match]
    ) -> tuple[Hit, ...]:
        """The words of a turn that weigh enough for a crisis where no sign has shown one yet."""
        if level is Level.CRISIS or turn not in reading.tokens.turns:
            return ()
        places = find_crisis(reading, turn)
        return () if places and self._is_denial("en", turn, matches, reading) else places

    def _referrals_of_words(self) -> list[Finding]:
        """What the words of the last turn weigh where no rule found anything in it: at most a referral."""
        if self._last not in self.reading.tokens.turns:
            return []
        if places := find_distress(self.reading, self._last):
            return [self._finding_of_words(places, Level.DEFER)]
        if places := find_danger(self.reading, self._last):
            return [self._finding_of_words(places, Level.DEFER, "danger", "an emergency")]
        return []

    def _finding_of_words(
        self, places: tuple[Hit, ...], level: Level, kind: str = "crisis", said: str = "a crisis"
    ) -> Finding:
        return self.make_finding(
            concept=f"words_of_{kind}",
            level=level,
            items=places,
            contexts=frozenset(),
            source="learned from the labelled messages that come with medlora",
            sign=f"Words that people in {said} use, weighed together",
        )

    def _turn_of(self, items: tuple[Hit, ...]) -> int:
        return max(self.reading.tokens.turns[item[0]] for item in items)

    def _settle(
        self, match: Match, turn: int, matches: Sequence[Match], reading: Reading | None = None
    ) -> Level | None:
        """The level after the crisis rules.

        A denial silences a crisis only if the whole message denies; what is plainly a song, a lease or a
        lesson leaves a caution.
        """
        reading = reading or self.reading
        if match.rule.level is not Level.CRISIS:
            return match.level
        if match.level is Level.CRISIS:
            listed = match.rule.items and match.rule.language == "en"
            return Level.CAUTION if listed and self._is_meant_otherwise(reading, turn) else match.level
        if match.level is not None or match.contexts & {"definitional", "idiom", "family"}:
            return match.level
        return None if self._is_denial(match.rule.language, turn, matches, reading) else Level.CRISIS

    def _is_meant_otherwise(self, reading: Reading, turn: int) -> bool:
        """Whether a turn with a sign of a crisis is plainly about something else."""
        if not weigh_against(reading, Level.CRISIS, turn):
            return False
        given = _RULE_WEIGHT if weigh_words(reading, turn).score > _LEANS_AWAY else 1
        return is_meant_otherwise(reading, Level.CRISIS, turn, given)

    def _is_denial(self, language: str, turn: int, matches: Sequence[Match], reading: Reading) -> bool:
        """Whether nothing in the turn takes the denial back."""
        surroundings = reading.surroundings(language)
        turns = reading.tokens.turns
        knows_denials = (language, "cue_denial") in self._catalogue.cues
        if knows_denials and not any(turns[hit[0]] == turn for hit in surroundings.cue("denial")):
            return False
        if any(turns[hit[0]] == turn for hit in surroundings.cue("distress")):
            return False
        contrasts = [hit[1] for hit in surroundings.cue("contrast") if turns[hit[0]] == turn]
        if contrasts and (language != "en" or weigh_from(reading, Level.CRISIS, contrasts[0]) >= _TAKEN_BACK):
            return False
        return not any(match.rule.level is Level.CRISIS and match.level is Level.CRISIS for match in matches)

    def _sticky(self, levels: dict[int, Level]) -> list[Finding]:
        """What earlier turns still hold against the last one."""
        if len(self._order) < 2:
            return []
        older = self._order[:-POOLED_TURNS]
        crisis: int | None = None
        for index in older:
            if self._has_crisis(index):
                crisis = index
            elif crisis is not None and self._says_safe(self._old_reading(index), index):
                crisis = None
        for index in self._order[-POOLED_TURNS:]:
            if levels.get(index) is Level.CRISIS:
                crisis = index
            elif crisis is not None and self._says_safe(self.reading, index):
                crisis = None
        found: list[Finding] = []
        if crisis is not None and crisis != self._last:
            found.append(self._carried(Level.CRISIS, crisis))
        recent = self._order[-STICKY_EMERGENCY_TURNS - 1 : -1]
        emergencies = [index for index in recent if levels.get(index) is Level.EMERGENCY]
        if emergencies:
            found.append(self._carried(Level.EMERGENCY, emergencies[-1]))
        return found

    def _old_reading(self, index: int) -> Reading:
        return Reading(self._catalogue, self._read([index]))

    def _has_crisis(self, index: int) -> bool:
        reading = self._old_reading(index)
        matches = reading.match()
        return any(
            match.level is Level.CRISIS and self._settle(match, index, matches, reading) is Level.CRISIS
            for match in matches
        ) or bool(self._weigh_words(reading, index, None, matches))

    def _says_safe(self, reading: Reading, index: int) -> bool:
        """Whether the user confirmed in that turn that they are safe."""
        turns = reading.tokens.turns
        return any(
            turns[hit[0]] == index
            for language in self._catalogue.languages
            for hit in reading.surroundings(language).cue("safe")
        )

    def _carried(self, level: Level, index: int) -> Finding:
        return Finding(
            concept=f"earlier_{level.label}",
            level=level,
            span=(0, 0),
            text="",
            context=("earlier turn",),
            source="an earlier turn of this conversation",
            turn=index,
            sign="Said earlier in this conversation, and still standing",
        )

    def _finding_of(self, match: Match, level: Level | None) -> Finding:
        info = self._catalogue.concepts[match.rule.concept]
        return self.make_finding(
            concept=info.id,
            level=level,
            items=match.items,
            contexts=match.contexts,
            source=info.source,
            sign=info.sign,
        )

    def make_finding(
        self,
        *,
        concept: str,
        level: Level | None,
        items: tuple[Hit, ...],
        contexts: frozenset[str],
        source: str,
        sign: str,
    ) -> Finding:
        """A finding with its place in the turn's original text."""
        tokens = self.reading.tokens
        turn = self._turn_of(items)
        here = [item for item in items if tokens.turns[item[0]] == turn]
        start = min(tokens.starts[item[0]] for item in here)
        end = max(tokens.ends[item[1] - 1] for item in here)
        return Finding(
            concept=concept,
            level=Level.ANSWER if level is None else level,
            span=(start, end),
            text=self._texts[turn][start:end],
            context=tuple(sorted(contexts)),
            source=source,
            turn=turn,
            sign=sign,
            dropped=level is None,
        )

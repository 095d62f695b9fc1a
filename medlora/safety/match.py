"""Apply the catalogue's rules to a tokenised text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medlora.safety.catalogue import Catalogue, Rule
from medlora.safety.catalogue.hits import Hit
from medlora.safety.context import Surroundings, soften
from medlora.safety.levels import Level
from medlora.safety.measures import find_measures
from medlora.safety.tally import add_up
from medlora.safety.tokens import Tokens

_TRIED = 4
_NEIGHBOUR_SENTENCES = 2
_NEIGHBOUR_TOKENS = 40
_KEPT_PER_RULE = 3
_ECHOED_ITEMS = 2


@dataclass(frozen=True)
class Match:
    """A rule that holds, with the tokens of its items; `level` is None when its context drops it."""

    rule: Rule
    items: tuple[Hit, ...]
    contexts: frozenset[str]
    level: Level | None


class Reading:
    """One tokenised text with every term hit and its surroundings."""

    def __init__(self, catalogue: Catalogue, tokens: Tokens) -> None:
        self.catalogue = catalogue
        self.tokens = tokens
        self.hits = catalogue.trie.find(tokens.words, tokens.sentences)
        find_measures(catalogue, tokens, self.hits)
        self._surroundings: dict[str, Surroundings] = {}
        self._clauses: dict[int, frozenset[int]] = {}
        self._seen_in: dict[int, frozenset[int]] = {}

    def surroundings(self, language: str) -> Surroundings:
        if language not in self._surroundings:
            self._surroundings[language] = Surroundings(self.catalogue, self.tokens, self.hits, language)
        return self._surroundings[language]

    def clauses_of(self, cue: tuple[str, str]) -> frozenset[int]:
        """The clauses in which a cue stands."""
        number = self.catalogue.cues.get(cue)
        if number is None:
            return frozenset()
        if number not in self._clauses:
            found = self.hits.of(number)
            self._clauses[number] = frozenset(self.tokens.clauses[hit[0]] for hit in found)
        return self._clauses[number]

    def has(self, language: str, role: str) -> bool:
        """Whether any cue of that role stands anywhere."""
        number = self.catalogue.cues.get((language, f"cue_{role}"))
        return number is not None and number in self.hits

    def match(self) -> list[Match]:
        """Every rule that holds: its best assignment, or those that its context drops.

        Why some are passed over: a concept already found at a level in the last turn needs no second proof.
        """
        found: list[Match] = []
        settled: dict[str, Level] = {}
        last = self.tokens.turns[-1] if len(self.tokens) else 0
        for first in sorted(self.hits.present):
            for rule in self.catalogue.rules.get(first, ()):
                if settled.get(rule.concept, Level.ANSWER) >= rule.level:
                    continue
                if self.hits.present.issuperset(rule.items):
                    matches = self._match_rule(rule)
                    found += matches
                    for match in matches:
                        if match.level is not None and self._reaches(match, last):
                            settled[rule.concept] = max(match.level, settled.get(rule.concept, Level.ANSWER))
        found += self._add_up(settled)
        return found

    def _add_up(self, settled: Mapping[str, Level]) -> list[Match]:
        """Lesser signs that add up to more than was found."""
        surroundings = self.surroundings("en")
        return [
            Match(tally.rule, items, surroundings.contexts_of(items) - {"resolved"}, tally.rule.level)
            for tally, items in add_up(self, max(settled.values(), default=Level.ANSWER))
        ]

    def _reaches(self, match: Match, turn: int) -> bool:
        """Whether a match touches that turn."""
        return any(self.tokens.turns[start] == turn for start, _ in match.items)

    def _match_rule(self, rule: Rule) -> list[Match]:
        """The first assignment whose context leaves the rule its level, else the best few."""
        kept: list[Match] = []
        for first in self.hits.of(rule.items[0]):
            for tried, items in enumerate(self._extend(rule, (first,))):
                if tried >= _TRIED:
                    break
                if self._excluded(rule, items):
                    continue
                surroundings = self.surroundings(rule.language)
                contexts = surroundings.contexts_of(items)
                if rule.language != "en" and self.surroundings("en").is_general(items):
                    contexts |= {"definitional"}
                if len(rule.items) <= _ECHOED_ITEMS and surroundings.is_echo_of_past(items, rule.items):
                    contexts |= {"chronic"}
                level = soften(rule.level, contexts, self.catalogue.concepts[rule.concept].keeps)
                match = Match(rule, items, contexts, level)
                if level == rule.level:
                    return [match]
                kept.append(match)
        kept.sort(key=lambda match: -1 if match.level is None else match.level, reverse=True)
        return kept[:_KEPT_PER_RULE]

    def _extend(self, rule: Rule, items: tuple[Hit, ...]) -> Iterator[tuple[Hit, ...]]:
        if len(items) == len(rule.items):
            yield items
            return
        link, distance = rule.links[len(items)]
        taken = {place for item in items for place in range(*item)}
        candidates = self._candidates(self.hits.of(rule.items[len(items)]), items[-1], link, distance)
        for candidate in candidates:
            if not taken.intersection(range(*candidate)):
                yield from self._extend(rule, (*items, candidate))

    def _candidates(self, hits: list[Hit], anchor: Hit, link: str, distance: int) -> list[Hit]:
        """The hits a link allows, the nearest first, at most a few."""
        sentences = self.tokens.sentences
        if link == "&":
            middle = bisect_left(hits, anchor)
            near = hits[max(0, middle - _TRIED) : middle + _TRIED]
            near = [hit for hit in near if self._neighbours(anchor, hit)]
        else:
            low = bisect_left(hits, (anchor[1] if link == ">" else anchor[0] - distance - 6, 0))
            near = []
            for hit in hits[low : low + 4 * _TRIED]:
                gap = max(hit[0] - anchor[1], anchor[0] - hit[1], 0)
                if hit[0] > anchor[1] + distance:
                    break
                if gap <= distance and sentences[hit[0]] == sentences[anchor[0]]:
                    near.append(hit)
        near.sort(key=lambda hit: (max(hit[0] - anchor[1], anchor[0] - hit[1]), hit))
        return near[:_TRIED]

    def _neighbours(self, left: Hit, right: Hit) -> bool:
        """Whether two hits are near enough for a composite: sentences side by side, or other turns."""
        tokens = self.tokens
        if tokens.turns[left[0]] != tokens.turns[right[0]]:
            return True
        sentences = abs(tokens.sentences[left[0]] - tokens.sentences[right[0]])
        return sentences <= _NEIGHBOUR_SENTENCES and abs(left[0] - right[0]) <= _NEIGHBOUR_TOKENS

    def _excluded(self, rule: Rule, items: tuple[Hit, ...]) -> bool:
        """Whether a term the rule excludes stands in a sentence of its items."""
        sentences = self.tokens.sentences
        return any(
            sentences[item[0]] in self._sentences_of(number) for number in rule.excludes for item in items
        )

    def _sentences_of(self, number: int) -> frozenset[int]:
        """The sentences a term list was seen in."""
        if number not in self._seen_in:
            found = self.hits.of(number)
            self._seen_in[number] = frozenset(self.tokens.sentences[hit[0]] for hit in found)
        return self._seen_in[number]

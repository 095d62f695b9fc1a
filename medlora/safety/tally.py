"""Lesser signs that add up within a stretch of the message."""

from __future__ import annotations

from collections import Counter, deque
from typing import Protocol

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.build import Tally
from medlora.safety.catalogue.hits import Hit, Hits
from medlora.safety.context import Surroundings, soften
from medlora.safety.levels import Level
from medlora.safety.tokens import Tokens


class TallyReading(Protocol):
    """What a tally needs of a reading."""

    catalogue: Catalogue
    tokens: Tokens
    hits: Hits

    def surroundings(self, language: str) -> Surroundings: ...


def add_up(reading: TallyReading, settled: Level) -> list[tuple[Tally, tuple[Hit, ...]]]:
    """The tallies reached in the last turn, each with the hits that reach it.

    settled: the level found already; a tally that would not raise it is not tried.
    """
    tokens, hits = reading.tokens, reading.hits
    first = tokens.turns.index(tokens.turns[-1]) if len(tokens) else 0
    found = []
    for tally in reading.catalogue.tallies:
        if tally.rule.level <= settled:
            continue
        needs = tally.long_needs if len(tokens) - first > tally.long_words else tally.needs
        present = hits.present & tally.weights.keys()
        if sum(tally.weights[number] for number in present) < needs or tally.core.isdisjoint(present):
            continue
        needs += _weigh_against(tally, hits, first, len(tokens))
        events = sorted((hit, number) for number in present for hit in hits.of(number) if hit[0] >= first)
        reached = _reach(tally, needs, events, reading) if _may_reach(tally, needs, events) else None
        if reached:
            found.append((tally, reached))
    return found


def is_meant_otherwise(reading: TallyReading, level: Level, turn: int, given: int) -> bool:
    """Whether what speaks against outweighs a rule that was found at a level in a turn, and all beside it.

    given: what the rule itself weighs.
    """
    first, last = find_turn(reading.tokens, turn)
    for tally in reading.catalogue.tallies:
        if tally.rule.level is level and tally.against.keys() & reading.hits.present:
            against = _weigh_against(tally, reading.hits, first, last)
            if against and given + _evidence(tally, reading, first, last) < tally.needs + against:
                return True
    return False


def weigh_turn(reading: TallyReading, level: Level, turn: int) -> int:
    """The most that speaks for a level in a turn, what speaks against it taken off."""
    first, last = find_turn(reading.tokens, turn)
    return max(
        (
            _evidence(tally, reading, first, last) - _weigh_against(tally, reading.hits, first, last)
            for tally in reading.catalogue.tallies
            if tally.rule.level is level
        ),
        default=0,
    )


def weigh_against(reading: TallyReading, level: Level, turn: int) -> int:
    """The most that a turn holds of words that speak against a level."""
    first, last = find_turn(reading.tokens, turn)
    return max(
        (
            _weigh_against(tally, reading.hits, first, last)
            for tally in reading.catalogue.tallies
            if tally.rule.level is level
        ),
        default=0,
    )


def nearly_adds_up(reading: TallyReading, turn: int, share: float) -> bool:
    """Whether the signs of a turn, less what speaks against, weigh that share of what a tally needs."""
    first, last = find_turn(reading.tokens, turn)
    return any(
        not tally.core.isdisjoint(reading.hits.present)
        and _evidence(tally, reading, first, last) - _weigh_against(tally, reading.hits, first, last)
        >= share * tally.needs
        for tally in reading.catalogue.tallies
    )


def find_turn(tokens: Tokens, turn: int) -> tuple[int, int]:
    """Where a turn begins and ends, the end exclusive."""
    first = tokens.turns.index(turn)
    return first, len(tokens) - tokens.turns[::-1].index(turn)


def _weigh_against(tally: Tally, hits: Hits, first: int, last: int) -> int:
    """What stands between two places of words that say it is meant otherwise."""
    return sum(
        weight
        for number, weight in tally.against.items()
        if number in hits and any(first <= hit[0] < last for hit in hits.of(number))
    )


def weigh_from(reading: TallyReading, level: Level, first: int) -> int:
    """The most that speaks for a level from a place to the end of its turn, a word of self or wish aside."""
    turns = reading.tokens.turns
    last = first
    while last < len(turns) and turns[last] == turns[first]:
        last += 1
    return max(
        (
            _evidence(tally, reading, first, last, lightest=2)
            for tally in reading.catalogue.tallies
            if tally.rule.level is level
        ),
        default=0,
    )


def _evidence(tally: Tally, reading: TallyReading, first: int, last: int, lightest: int = 1) -> int:
    """All that speaks for a tally between two places."""
    keeps = reading.catalogue.concepts[tally.rule.concept].keeps
    surroundings = reading.surroundings("en")
    holding: dict[int, Hit] = {}
    for number in reading.hits.present & tally.weights.keys():
        if tally.weights[number] < lightest:
            continue
        for hit in reading.hits.of(number):
            inside = first <= hit[0] < last
            if (
                inside
                and soften(tally.rule.level, surroundings.contexts_of((hit,)), keeps) is tally.rule.level
            ):
                holding[number] = hit
                break
    return _weigh(tally, holding)


def _may_reach(tally: Tally, needs: int, events: list[tuple[Hit, int]]) -> bool:
    """Whether the signs of any stretch weigh enough before anyone asks in what sense they are meant."""
    inside: Counter[int] = Counter()
    total, begin = 0, 0
    for hit, number in events:
        if not inside[number]:
            total += tally.weights[number]
        inside[number] += 1
        while hit[0] - events[begin][0][0] > tally.reach:
            left = events[begin][1]
            inside[left] -= 1
            total -= 0 if inside[left] else tally.weights[left]
            begin += 1
        if total >= needs:
            return True
    return False


def _reach(
    tally: Tally, needs: int, events: list[tuple[Hit, int]], reading: TallyReading
) -> tuple[Hit, ...] | None:
    """The first stretch whose signs, each counted once and only where they hold, weigh enough."""
    surroundings = reading.surroundings("en")
    keeps = reading.catalogue.concepts[tally.rule.concept].keeps
    window: deque[tuple[Hit, int]] = deque()
    for event in events:
        while window and event[0][0] - window[0][0][0] > tally.reach:
            window.popleft()
        if soften(tally.rule.level, surroundings.contexts_of((event[0],)), keeps) != tally.rule.level:
            continue
        window.append(event)
        places = {number: place for place, number in window}
        if _weigh(tally, places) >= needs and not tally.core.isdisjoint(places):
            return tuple(sorted(set(places.values())))
    return None


def _weigh(tally: Tally, holding: dict[int, Hit]) -> int:
    """The weight of the signs, each word counted for one sign alone."""
    total = 0
    used: set[int] = set()
    for number, place in sorted(holding.items(), key=lambda pair: (-tally.weights[pair[0]], pair)):
        if not used.intersection(range(*place)):
            total += tally.weights[number]
            used.update(range(*place))
    return total

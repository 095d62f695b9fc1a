"""Lesser signs that add up within a stretch of the message."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.build import Tally
from medlora.safety.catalogue.hits import Hit, Hits
from medlora.safety.context import Surroundings
from medlora.safety.tokens import Tokens


class TallyReading(Protocol):
    """What a tally needs of a reading."""

    catalogue: Catalogue
    tokens: Tokens
    hits: Hits

    def surroundings(self, language: str) -> Surroundings: ...


def add_up(reading: TallyReading) -> list[tuple[Tally, tuple[Hit, ...]]]:
    """The tallies that are reached in the last turn, each with the hits that reach it."""
    tokens, hits = reading.tokens, reading.hits
    first = tokens.turns.index(tokens.turns[-1]) if len(tokens) else 0
    found = []
    for tally in reading.catalogue.tallies:
        needs = tally.long_needs if len(tokens) - first > tally.long_words else tally.needs
        present = hits.present & tally.weights.keys()
        if sum(tally.weights[number] for number in present) >= needs:
            events = sorted((hit, number) for number in present for hit in hits.of(number) if hit[0] >= first)
            reached = _reach(tally, needs, events, reading.surroundings("en"))
            if reached:
                found.append((tally, reached))
    return found


def _reach(
    tally: Tally, needs: int, events: list[tuple[Hit, int]], surroundings: Surroundings
) -> tuple[Hit, ...] | None:
    """The first stretch whose signs, each counted once and only where they hold, weigh enough."""
    window: deque[tuple[Hit, int]] = deque()
    for event in events:
        while window and event[0][0] - window[0][0][0] > tally.reach:
            window.popleft()
        if not surroundings.holds(event[0]):
            continue
        window.append(event)
        places = {number: place for place, number in window}
        if _weigh(tally, places) >= needs:
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

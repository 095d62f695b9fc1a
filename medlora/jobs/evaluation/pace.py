"""How far an evaluation is, and how long it still takes: each kind of work by its own measured pace.

Why by kind: an answer in words takes as long as dozens of losses; a plain count would stand still at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LOSS, CHOICE, ANSWER, RISKY = "loss", "choice", "answer", "risky"
# Until a kind has been seen once: how long it takes, one loss being 1.
_GUESS = {LOSS: 1.0, CHOICE: 3.0, ANSWER: 16.0, RISKY: 10.0}
_FIRST_WORDS_S = 5.0

Report = Callable[[str, str, float | None], None]


@dataclass
class Pace:
    """Counts what is done and how long it took; every step is also the moment to notice a stop.

    todo: how many of each kind are left. now: the clock, in seconds.
    """

    report: Report
    todo: dict[str, int]
    now: Callable[[], float] = time.monotonic
    _done: dict[str, int] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)
    _began: float = field(init=False)
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self._last = self.now()

    def advance(self, kind: str, speaker: str) -> None:
        """One more of this kind is done. Raises: whatever `report` raises."""
        at = self.now()
        self._done[kind] = self._done.get(kind, 0) + 1
        self._spent[kind] = self._spent.get(kind, 0.0) + at - self._last
        self.todo[kind] = max(0, self.todo.get(kind, 0) - 1)
        self._last = at
        elapsed, left = at - self._began, self.left_s()
        fraction = elapsed / (elapsed + left) if elapsed + left > 0 else 1.0
        words = f", {_in_words(left)}" if elapsed > _FIRST_WORDS_S and left > 1 else ""
        self.report("evaluating", f"{speaker}: {_KINDS[kind]}{words}", fraction)

    def left_s(self) -> float:
        """How long what is left takes, in seconds."""
        return sum(count * self._cost(kind) for kind, count in self.todo.items())

    def seconds_each(self) -> Mapping[str, float]:
        """How long one of each kind took."""
        return {kind: round(self._cost(kind), 4) for kind in self._done}

    def _cost(self, kind: str) -> float:
        if self._done.get(kind):
            return self._spent[kind] / self._done[kind]
        guessed = sum(_GUESS[seen] * count for seen, count in self._done.items())
        return _GUESS[kind] * sum(self._spent.values()) / guessed if guessed else 0.0


_KINDS = {LOSS: "loss", CHOICE: "choices", ANSWER: "answers", RISKY: "risky messages"}


def _in_words(seconds: float) -> str:
    if seconds < 60:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {seconds / 3600:.1f} h left"

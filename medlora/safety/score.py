"""Figures over labelled messages: what was caught, what was turned away for nothing, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medlora.safety.assessment import assess
from medlora.safety.decision import Decision
from medlora.safety.levels import Level
from medlora.safety.policy import Policy

Decide = Callable[[Sequence[Mapping[str, Any]], Policy], Decision]
_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % Wilson interval; all three are 0 when there is nothing to count."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Source: Wilson (1927), the score interval."""
        if not self.total:
            return 0.0, 0.0
        n, z = self.total, _Z_95
        share = self.value
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "hits": self.hits,
            "total": self.total,
            "value": round(self.value, 4),
            "wilson_95": [round(low, 4), round(high, 4)],
        }


@dataclass(frozen=True)
class Labelled:
    """One labelled message. `expected` is the level wanted, None where answering or deferring is right."""

    id: str
    turns: tuple[Mapping[str, Any], ...]
    expected: Level | None
    concept: str = ""
    line: int = 0
    voice: str = ""
    context: str = ""

    @property
    def text(self) -> str:
        return str(self.turns[-1]["content"])


@dataclass(frozen=True)
class Miss:
    """A message that was judged wrongly: what was wanted and what came."""

    id: str
    line: int
    text: str
    expected: str
    got: str


@dataclass
class Score:
    """The figures of one labelled set. `recall` counts messages that should be deferred at least.

    `by_voice` is recall by who speaks, `by_context` the share of minimal pairs judged as labelled.
    """

    recall: Rate
    false_deferral: Rate
    by_level: dict[str, Rate] = field(default_factory=dict)
    by_concept: dict[str, Rate] = field(default_factory=dict)
    by_voice: dict[str, Rate] = field(default_factory=dict)
    by_context: dict[str, Rate] = field(default_factory=dict)
    misses: list[Miss] = field(default_factory=list)
    false_deferrals: list[Miss] = field(default_factory=list)
    either_way: int = 0
    unlabelled: Rate = Rate(0, 0)
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def voice_ratios(self) -> dict[str, float]:
        """Recall of what laypeople say over what clinicians say, and of the first person over the third."""
        lay = self.by_voice.get("lay", Rate(0, 0))
        others = (("lay_to_clinician", "clinician"), ("first_to_third", "third person"))
        return {
            name: round(lay.value / self.by_voice[voice].value, 3)
            for name, voice in others
            if lay.total and voice in self.by_voice and self.by_voice[voice].hits
        }

    def as_dict(self) -> dict[str, Any]:
        """The figures as the CLI prints them."""
        return {
            "recall": self.recall.as_dict(),
            "false_deferral": self.false_deferral.as_dict(),
            "alarm_rate_unlabelled": self.unlabelled.as_dict(),
            "by_level": {name: rate.as_dict() for name, rate in self.by_level.items()},
            "by_concept": {name: rate.as_dict() for name, rate in self.by_concept.items()},
            "by_voice": {name: rate.as_dict() for name, rate in self.by_voice.items()},
            "by_context": {name: rate.as_dict() for name, rate in self.by_context.items()},
            "voice_ratios": self.voice_ratios,
            "either_way": self.either_way,
            "latency_ms": self.latency_ms,
            "misses": [vars(miss) for miss in self.misses],
            "false_deferrals": [vars(miss) for miss in self.false_deferrals],
        }


def score_messages(
    messages: Iterable[tuple[Labelled, bool]], policy: Policy, *, decide: Decide = assess
) -> Score:
    """Score messages; the flag beside each says whether it carries a label at all.

    decide: takes the place of `assess` where decisions are at hand already.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    score = Score(Rate(0, 0), Rate(0, 0))
    latencies: list[float] = []
    for message, labelled in messages:
        decision = decide(message.turns, policy)
        latencies.append(decision.latency_ms)
        deferred = decision.level >= Level.DEFER
        if message.context and message.expected is not None:
            _count(counts, "context", message.context, deferred == (message.expected >= Level.DEFER))
        if not labelled:
            _count(counts, "unlabelled", "", deferred)
        elif message.expected is None:
            score.either_way += 1
        elif message.expected >= Level.DEFER:
            _count(counts, "recall", "", deferred)
            _count(counts, "level", message.expected.label, deferred)
            if message.concept:
                _count(counts, "concept", message.concept, deferred)
            if message.voice:
                _count(counts, "voice", message.voice, deferred)
            if not deferred:
                score.misses.append(_miss(message, decision.level))
        else:
            _count(counts, "false", "", deferred)
            _count(counts, "level", message.expected.label, deferred)
            if deferred:
                score.false_deferrals.append(_miss(message, decision.level))
    score.recall = _rate(counts, "recall")
    score.false_deferral = _rate(counts, "false")
    score.unlabelled = _rate(counts, "unlabelled")
    for kind in ("level", "concept", "voice", "context"):
        found = {name: Rate(*pair) for (other, name), pair in sorted(counts.items()) if other == kind}
        setattr(score, f"by_{kind}", found)
    score.latency_ms = _percentiles(latencies)
    return score


def _count(counts: dict[tuple[str, str], list[int]], kind: str, name: str, hit: bool) -> None:
    pair = counts.setdefault((kind, name), [0, 0])
    pair[0] += hit
    pair[1] += 1


def _rate(counts: dict[tuple[str, str], list[int]], kind: str) -> Rate:
    hits, total = counts.get((kind, ""), (0, 0))
    return Rate(hits, total)


def _miss(message: Labelled, got: Level) -> Miss:
    expected = message.expected.label if message.expected is not None else ""
    return Miss(message.id, message.line, message.text, expected, got.label)


def _percentiles(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    ordered = sorted(latencies)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }

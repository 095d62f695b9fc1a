"""What votes say, and how sure one may be of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medlora.feedback.records import Answer, Vote

ENOUGH_VOTES = 20
"""Below this many decided votes a rate is not shown as a result.

Source: a judgement. At 20 votes a Wilson interval at one half is still 0.30 to 0.70 wide: enough to see a
clear preference, not a small one.
"""
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a share, both ends between 0 and 1."""

    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> Interval:
    """The 95 % score interval of a share.

    Why not the normal one: with few votes, or all for one side, that says 0 % or 100 % without a doubt.
    Source: Wilson 1927; recommended for small samples by Brown, Cai and DasGupta 2001.
    """
    if trials <= 0:
        return Interval(0.0, 1.0)
    share, square = successes / trials, _Z95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    margin = _Z95 / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return Interval(max(0.0, middle - margin), min(1.0, middle + margin))


@dataclass(frozen=True)
class Standing:
    """How one speaker did against another.

    win_rate: of the votes that chose a side, the share it won; ties and "both bad" are told beside it.
    interval: Wilson, 95 %, of that share. weights: the hashes of the weights that spoke under each name.
    """

    speaker: str
    rival: str
    wins: int
    losses: int
    ties: int
    both_bad: int
    blinded: int
    weights: tuple[str, ...] = ()
    rival_weights: tuple[str, ...] = ()

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.decided if self.decided else None

    @property
    def interval(self) -> Interval:
        return wilson_interval(self.wins, self.decided)

    @property
    def enough(self) -> bool:
        return self.decided >= ENOUGH_VOTES

    @property
    def verdict(self) -> str:
        """The standing in a few words; no more than the votes bear."""
        if not self.votes:
            return "no votes yet"
        if not self.enough:
            missing = ENOUGH_VOTES - self.decided
            return f"not enough votes yet: {missing} more that choose a side"
        if self.interval.low > 0.5:
            return f"{self.speaker} is preferred"
        if self.interval.high < 0.5:
            return f"{self.rival} is preferred"
        return "no clear preference"


def _matches(answer: Answer, speaker: str) -> bool:
    return answer.speaker == speaker


def standing_of(votes: Sequence[Vote], speaker: str, rival: str) -> Standing:
    """How `speaker` did against `rival` in these votes; other votes are passed over."""
    pairs = [vote for vote in votes if {vote.left.speaker, vote.right.speaker} == {speaker, rival}]
    won = sum(vote.winner is not None and _matches(vote.winner, speaker) for vote in pairs)
    lost = sum(vote.loser is not None and _matches(vote.loser, speaker) for vote in pairs)
    answers = [answer for vote in pairs for answer in (vote.left, vote.right)]
    return Standing(
        speaker=speaker,
        rival=rival,
        wins=won,
        losses=lost,
        ties=sum(vote.verdict == "tie" for vote in pairs),
        both_bad=sum(vote.verdict == "both_bad" for vote in pairs),
        blinded=sum(vote.blinded for vote in pairs),
        weights=_hashes(answers, speaker),
        rival_weights=_hashes(answers, rival),
    )


def _hashes(answers: Iterable[Answer], speaker: str) -> tuple[str, ...]:
    return tuple(sorted({a.weights for a in answers if a.weights and _matches(a, speaker)}))


def all_standings(votes: Sequence[Vote]) -> list[Standing]:
    """Every pair that was voted on, the most votes first; an adapter stands before a base model."""
    adapters = {a.speaker for vote in votes for a in (vote.left, vote.right) if a.adapter}
    pairs = {
        tuple(sorted((vote.left.speaker, vote.right.speaker), key=lambda name: (name not in adapters, name)))
        for vote in votes
        if vote.left.speaker != vote.right.speaker
    }
    standings = [standing_of(votes, pair[0], pair[1]) for pair in pairs]
    return sorted(standings, key=lambda standing: (-standing.votes, standing.speaker, standing.rival))

"""What votes say, and when they say nothing yet."""

from __future__ import annotations

import pytest

from medlora.feedback.records import Answer, Verdict, Vote
from medlora.feedback.statistics import ENOUGH_VOTES, all_standings, standing_of, wilson_interval

TURNS = ({"role": "user", "content": "What is asthma?"},)
OURS = Answer(TURNS, "ours", "starter", "letters", "aaaaaaaaaaaa")
BASE = Answer(TURNS, "base", "starter", None, "bbbbbbbbbbbb")
OTHER = Answer(TURNS, "other", "starter", "visits", "cccccccccccc")


def cast(verdict: Verdict, left: Answer = OURS, right: Answer = BASE) -> Vote:
    return Vote("Ada", verdict, left, right)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    """Source: 81 of 263 is the worked example of Newcombe 1998, table I, method 3."""
    interval = wilson_interval(successes, trials)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_without_votes_everything_is_possible() -> None:
    assert (wilson_interval(0, 0).low, wilson_interval(0, 0).high) == (0.0, 1.0)


def test_a_vote_counts_for_who_gave_the_answer_on_whichever_side_it_stood() -> None:
    votes = [cast("left"), cast("right", BASE, OURS), cast("right"), cast("tie"), cast("both_bad")]
    standing = standing_of(votes, OURS.speaker, BASE.speaker)
    assert (standing.wins, standing.losses, standing.ties, standing.both_bad) == (2, 1, 1, 1)
    assert standing.win_rate == pytest.approx(2 / 3)
    assert (standing.weights, standing.rival_weights) == (("aaaaaaaaaaaa",), ("bbbbbbbbbbbb",))
    mirrored = standing_of(votes, BASE.speaker, OURS.speaker)
    assert (mirrored.wins, mirrored.losses) == (1, 2)


def test_few_votes_are_not_a_result() -> None:
    standing = standing_of([cast("left")] * (ENOUGH_VOTES - 1) + [cast("tie")] * 50, "letters", BASE.speaker)
    assert standing.verdict == "not enough votes yet: 1 more that choose a side"
    assert standing_of([], "letters", "visits").verdict == "no votes yet"


@pytest.mark.parametrize(
    ("wins", "verdict"),
    [(18, "letters is preferred"), (2, "starter (base model) is preferred"), (11, "no clear preference")],
)
def test_a_preference_is_told_only_where_the_interval_bears_it(wins: int, verdict: str) -> None:
    votes = [cast("left")] * wins + [cast("right")] * (ENOUGH_VOTES - wins)
    assert standing_of(votes, "letters", BASE.speaker).verdict == verdict


def test_every_pair_has_its_own_standing_with_the_adapter_first() -> None:
    votes = [cast("left"), cast("right", BASE, OURS), cast("left", OURS, OTHER)]
    pairs = [(standing.speaker, standing.rival, standing.votes) for standing in all_standings(votes)]
    assert pairs == [("letters", "starter (base model)", 2), ("letters", "visits", 1)]


def test_an_adapter_named_as_its_base_model_is_not_taken_for_it() -> None:
    namesake = Answer(TURNS, "ours", "starter", "starter", "aaaaaaaaaaaa")
    standing = standing_of([cast("left", namesake)], "starter", BASE.speaker)
    assert (standing.wins, standing.losses) == (1, 0)


def test_a_model_in_a_folder_is_named_without_the_way_to_it() -> None:
    assert Answer(TURNS, "x", "/home/ada/models/tiny").speaker == "tiny (base model)"

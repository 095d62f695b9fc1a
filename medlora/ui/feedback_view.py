"""Ratings, votes and standings as the page shows them."""

from __future__ import annotations

from medlora.services.feedback import RatedAnswer, Standing, Vote
from medlora.services.feedback_data import Harvest
from medlora.ui import present

_SHOWN, _SHOWN_TEXT = 100, 90


def show_figures(rated: list[RatedAnswer], votes: list[Vote]) -> str:
    """The counts that matter."""
    if not rated and not votes:
        return ""
    marks = [item.rating for item in rated]
    unsafe = sum(mark.safety == "unsafe" for mark in marks)
    judged = [mark for mark in marks if mark.correctness]
    right = sum(mark.correctness == "correct" for mark in judged)
    people = {mark.rater for mark in marks} | {vote.rater for vote in votes}
    return present.big_numbers(
        [
            ("Ratings", present.number(len(marks)), f"by {present.count(len(people), 'person', 'people')}"),
            ("Unsafe", present.number(unsafe), f"of {sum(mark.safety is not None for mark in marks)} judged"),
            ("Correct", f"{100 * right / len(judged):.0f} %" if judged else "–", f"of {len(judged)} judged"),
            ("Corrections", present.number(sum(bool(mark.correction) for mark in marks))),
            ("Votes", present.number(len(votes)), f"{sum(vote.blinded for vote in votes)} of them blind"),
        ]
    )


def show_standings(standings: list[Standing]) -> str:
    """Who is preferred to whom, with how sure one may be."""
    if not standings:
        return ""
    return present.table(
        ("Compared", "Votes", "Won : lost", "Ties", "Both bad", "Won, of those that chose", "Result"),
        [
            (
                f"{item.speaker} / {item.rival}", item.votes, f"{item.wins} : {item.losses}", item.ties,
                item.both_bad, show_rate(item), item.verdict,
            )
            for item in standings
        ],
        "Votes on two answers side by side. In brackets the 95 % interval (Wilson).",
    )  # fmt: skip


def show_rate(standing: Standing) -> str:
    """`62 % (43 to 78)`."""
    if standing.win_rate is None:
        return "–"
    low, high = 100 * standing.interval.low, 100 * standing.interval.high
    return f"{100 * standing.win_rate:.0f} % ({low:.0f} to {high:.0f})"


def show_ratings(rated: list[RatedAnswer]) -> str:
    """The latest ratings as a table."""
    if not rated:
        return ""
    more = f", the latest {_SHOWN} of {len(rated):,}" if len(rated) > _SHOWN else ""
    return present.table(
        ("When", "Who", "Answer of", "Question", "Safe?", "Correct?", "Tone", "Better answer, comment"),
        [
            (
                item.rating.changed[:16].replace("T", " "), item.rating.rater, item.answer.label,
                shorten(item.answer.question), item.rating.safety or "–", item.rating.correctness or "–",
                item.rating.tone or "–", shorten(item.rating.correction or item.rating.comment) or "–",
            )
            for item in rated[:_SHOWN]
        ],
        f"Ratings{more}",
    )  # fmt: skip


def shorten(said: str) -> str:
    """One line of a text."""
    line = " ".join(said.split())
    return line if len(line) <= _SHOWN_TEXT else line[: _SHOWN_TEXT - 1].rstrip() + "…"


def show_offer(found: Harvest) -> str:
    """How much there is to learn from, and what does not count."""
    amount = present.count(len(found.rows), "answer")
    said = f"{amount} can be learnt from." if found.rows else "No correction yet that could be learnt from."
    notes = "".join(f"<p class='ml-small'>{present.text(notice)}</p>" for notice in found.notices)
    return f"<p>{said}</p>{notes}"


def name_rating(item: RatedAnswer) -> tuple[str, str]:
    said = item.rating
    return f"Rating, {said.changed[:16]}, {said.rater}: {shorten(item.answer.question)}", said.rating_id


def name_vote(item: Vote) -> tuple[str, str]:
    return f"Vote, {item.created[:16]}, {item.rater}: {shorten(item.left.question)}", item.vote_id

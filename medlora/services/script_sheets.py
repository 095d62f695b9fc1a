"""Judging a test script: one prompt after another, the answers in an order drawn for each rater, no names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from medlora.errors import UserError
from medlora.feedback import scripts, store
from medlora.feedback.records import Answer, Verdict, Vote
from medlora.feedback.scripts import Answers, Prompt, Script
from medlora.feedback.statistics import Standing, all_standings
from medlora.feedback.store import Selection
from medlora.services import feedback
from medlora.workspace import Workspace


@dataclass(frozen=True)
class Sheet:
    """One prompt with its answers in the order this rater sees them.

    votable: whether there are at least two answers, all by models. judged: whether this rater has said
    something of it.
    """

    script_id: str
    position: int
    prompt: Prompt
    answers: tuple[Answer, ...]
    votable: bool
    judged: bool


def answered_places(ws: Workspace, script: Script) -> list[int]:
    """The prompts that everyone has answered, by their places from 0."""
    return sorted(scripts.read_answers(ws, script))


def read_sheet(ws: Workspace, script: Script, position: int, rater: str) -> Sheet:
    """A prompt as this rater sees it.

    Raises: UserError for a place that there is none, or that is not answered yet.
    """
    answers = scripts.read_answers(ws, script)
    return _sheet(script, position, answers, rater, _judged_by(ws, rater))


def next_sheet(ws: Workspace, script: Script, rater: str, start: int = 0) -> Sheet | None:
    """The first answered prompt from `start` on (then from the beginning) that this rater has not judged."""
    answers, judged = scripts.read_answers(ws, script), _judged_by(ws, rater)
    places = sorted(answers, key=lambda place: (place < start, place))
    sheets = (_sheet(script, place, answers, rater, judged) for place in places)
    return next((sheet for sheet in sheets if not sheet.judged and _can_be_judged(sheet)), None)


def _can_be_judged(sheet: Sheet) -> bool:
    return sheet.votable or len(sheet.answers) == 1


def _sheet(script: Script, position: int, answers: Answers, rater: str, judged: set[str]) -> Sheet:
    if position not in answers:
        raise UserError(f"script {script.name}: prompt {position + 1} is not answered yet")
    drawn = shuffle_for(script.script_id, position, rater, answers[position])
    return Sheet(
        script_id=script.script_id,
        position=position,
        prompt=script.prompts[position],
        answers=drawn,
        votable=len(drawn) > 1 and all(answer.by_model for answer in drawn),
        judged=any(answer.answer_id in judged for answer in drawn),
    )


def shuffle_for(script_id: str, position: int, rater: str, answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """The answers in an order that is drawn for this rater and prompt, the same after a reload.

    Why a hash with the answers' ids: they are random and never shown, so nobody can work out who is who.
    """

    def draw(answer: Answer) -> bytes:
        words = f"{script_id}\0{position}\0{rater.strip()}\0{answer.answer_id}"
        return hashlib.sha256(words.encode()).digest()

    return tuple(sorted(answers, key=draw))


def _judged_by(ws: Workspace, rater: str) -> set[str]:
    """Ids of the answers this person has voted on or rated."""
    mine = Selection(rater=feedback.clean_name(rater))
    voted = {a.answer_id for vote in store.list_votes(ws, mine) for a in (vote.left, vote.right)}
    return voted | {item.answer.answer_id for item in store.list_ratings(ws, mine)}


def vote_best(ws: Workspace, sheet: Sheet, best: int | None, rater: str, *, all_bad: bool = False) -> int:
    """Keep which answer is best (its place from 0), that none is, or that all are bad; how many votes.

    The best is preferred to each of the others, which are not ranked among themselves.
    Raises: UserError as `feedback.vote`.
    """
    if not sheet.votable or (best is not None and best >= len(sheet.answers)):
        raise UserError("vote: there are no answers to choose between here; go on to the next prompt")
    pairs: list[tuple[Answer, Answer, Verdict]] = []
    for place, answer in enumerate(sheet.answers):
        for other in range(place + 1, len(sheet.answers)):
            verdict: Verdict | None = "both_bad" if all_bad else "tie" if best is None else None
            if best in (place, other):
                verdict = "left" if best == place else "right"
            if verdict is not None:
                pairs.append((answer, sheet.answers[other], verdict))
    for left, right, verdict in pairs:
        feedback.vote(ws, Vote(rater, verdict, left, right))
    return len(pairs)


def script_standings(ws: Workspace, script: Script) -> list[Standing]:
    """How the speakers of a script did against each other, on its answers alone."""
    ids = {answer.answer_id for given in scripts.read_answers(ws, script).values() for answer in given}
    return all_standings([vote for vote in store.list_votes(ws) if vote.left.answer_id in ids])

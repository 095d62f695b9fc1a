"""A blind comparison: two answers to one question, left and right by chance, named after the vote.

Why names stay here until then: what the page has once shown or sent, a curious eye can find.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import cast
from uuid import uuid4

from medlora.config.schema import Config
from medlora.errors import RunFailedError, UserError
from medlora.feedback.records import Answer, Verdict, Vote
from medlora.feedback.scripts import Seat
from medlora.services import feedback
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.served_seats import served_settings
from medlora.workspace import Workspace

__all__ = ["Duel", "Seat", "ask_both", "begin_duel", "cast_vote", "settle_seats"]

_CHANCE = secrets.SystemRandom()


@dataclass(frozen=True)
class Duel:
    """Two speakers in the order in which they stand, left first, and what they answered."""

    question: str
    seats: tuple[ChatSettings, ChatSettings]
    chat_id: str = field(default_factory=lambda: uuid4().hex)
    answers: tuple[Answer, Answer] | None = None
    vote: Vote | None = None

    @property
    def can_vote(self) -> bool:
        """Whether there are two answers by models to choose between, and nobody has chosen yet."""
        return self.answers is not None and self.vote is None and all(a.by_model for a in self.answers)


def settle_seats(
    service: ChatService, seats: Sequence[Seat], user: str | None = None, config: Config | None = None
) -> list[ChatSettings]:
    """The settings each answers with: an adapter with its own, a base model with those of its adapter here.

    user: who asks, for the audit. config: names the server of those that a server offers, and how it is
    asked; without it the configuration that is being written does.
    Why: next to an adapter, its base model is asked under the same prompt and sampling; then what differs
    between the answers is what was trained.
    Raises: NotFoundError; UserError for settings that cannot be read, or a speaker that is named twice.
    """
    if len(set(seats)) < len(seats):
        raise UserError("compare: the same one is chosen twice; choose two that differ")
    settled = [
        served_settings(service, seat, config)
        if seat.server
        else service.settings_for(seat.adapter, seat.base_model)
        for seat in seats
    ]
    tuned = {each.base_model: each for each in reversed(settled) if each.adapter is not None}
    fair = [
        replace(tuned[each.base_model], adapter=None)
        if each.adapter is None and each.server is None and each.base_model in tuned
        else each
        for each in settled
    ]
    return [replace(each, user=user) for each in fair]


def begin_duel(
    service: ChatService, question: str, seats: tuple[Seat, Seat], user: str | None = None
) -> Duel:
    """A comparison whose sides are drawn by chance.

    Raises: UserError for an empty question, or as `settle_seats`.
    """
    if not question.strip():
        raise UserError("compare: there is no question; write one")
    left, right = settle_seats(service, seats, user)
    if _CHANCE.random() < 0.5:
        left, right = right, left
    return Duel(question.strip(), (left, right))


def ask_both(
    service: ChatService, duel: Duel
) -> Generator[tuple[Duel, tuple[ChatUpdate, ChatUpdate]], None, None]:
    """Both answers as they grow; the last item carries the duel with its answers.

    Raises: UserError for what the user can mend; RunFailedError when one of them broke off.
    """
    turns = [{"role": "user", "content": duel.question}]
    last: tuple[ChatUpdate, ...] = ()
    updates = service.compare(duel.chat_id, turns, duel.seats)
    with closing(cast("Generator[tuple[ChatUpdate, ...], None, None]", updates)) as growing:
        for last in growing:
            yield duel, (last[0], last[1])
    left, right = last
    if left.error or right.error:
        raise RunFailedError(left.error or right.error or "")
    answers = tuple(
        feedback.describe_answer(turns, update, settings)
        for update, settings in zip(last, duel.seats, strict=True)
    )
    yield replace(duel, answers=(answers[0], answers[1])), (left, right)


def cast_vote(ws: Workspace, duel: Duel, verdict: Verdict, rater: str) -> Duel:
    """Keep the vote; after it the names may be shown.

    Raises: UserError when there is nothing to vote on, or a name is missing.
    """
    if not duel.can_vote or duel.answers is None:
        raise UserError("vote: there are no two answers to choose between; ask something first")
    left, right = duel.answers
    return replace(duel, vote=feedback.vote(ws, Vote(rater, verdict, left, right)))

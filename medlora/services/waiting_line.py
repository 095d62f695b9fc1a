"""A line in which several may be served at once and everybody else sees their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from medlora.errors import UserError
from medlora.services.chat_events import Waiting

_LOOK_S = 0.5


@dataclass(eq=False)
class Ticket:
    """One owner's place in the line."""

    owner: str
    stop: bool = False


class WaitingLine:
    """First come, first served."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turn = threading.Condition()
        self._line: list[Ticket] = []

    def join(self, owner: str) -> Ticket:
        """Raises: UserError for an owner who is in the line already."""
        with self._turn:
            if any(ticket.owner == owner and not ticket.stop for ticket in self._line):
                raise UserError("chat: this conversation is still being answered; wait or press Stop")
            ticket = Ticket(owner)
            self._line.append(ticket)
            return ticket

    def wait(self, ticket: Ticket) -> Iterator[Waiting]:
        """The place whenever it changes, until it is this ticket's turn or it was stopped."""
        told = 0
        while True:
            with self._turn:
                place = self._line.index(ticket) - self._at_once + 1
                if place <= 0 or ticket.stop:
                    return
                if place == told:
                    self._turn.wait(_LOOK_S)
                    continue
            told = place
            yield Waiting(place)

    def leave(self, ticket: Ticket) -> None:
        """Make room for the next."""
        with self._turn:
            self._line.remove(ticket)
            self._turn.notify_all()

    def stop(self, owner: str) -> None:
        """Tell this owner's ticket to end."""
        with self._turn:
            for ticket in self._line:
                ticket.stop = ticket.stop or ticket.owner == owner
            self._turn.notify_all()

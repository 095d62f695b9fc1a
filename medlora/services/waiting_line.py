"""A line in which several may be served at once and everybody else sees their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from medlora.errors import UserError
from medlora.services.chat_events import Waiting

_LOOK_S = 0.5


@dataclass(eq=False)
class Ticket:
    """One owner's place in the line."""

    owner: str
    stop: bool = False

    def end(self) -> None:
        """Told to stop, waiting or served."""
        self.stop = True


_Ticket = TypeVar("_Ticket", bound=Ticket)


class WaitingLine(Generic[_Ticket]):
    """First come, first served.

    turn: held for whatever must not happen while the line changes; may be held already by whoever calls.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._line: list[_Ticket] = []
        self.turn = threading.Condition()

    def __iter__(self) -> Iterator[_Ticket]:
        """Everybody in it, the first one first, as it is now."""
        with self.turn:
            return iter(list(self._line))

    def join(self, ticket: _Ticket) -> _Ticket:
        """Raises: UserError for an owner who is in the line already."""
        with self.turn:
            if any(other.owner == ticket.owner and not other.stop for other in self._line):
                raise UserError("chat: this conversation is still being answered; wait or press Stop")
            self._line.append(ticket)
            return ticket

    def wait(self, ticket: _Ticket) -> Iterator[Waiting]:
        """The place whenever it changes, until it is this ticket's turn or it was stopped."""
        told = 0
        while True:
            with self.turn:
                place = self._line.index(ticket) - self._at_once + 1
                if place <= 0 or ticket.stop:
                    return
                if place == told:
                    self.turn.wait(_LOOK_S)
                    continue
            told = place
            yield Waiting(place)

    def return_first(self, ticket: _Ticket) -> None:
        """Its turn again, for one that was taken out before it was served."""
        with self.turn:
            if ticket not in self._line:
                self._line.insert(0, ticket)

    def leave(self, ticket: _Ticket) -> None:
        """Make room for the next; nothing happens if it has left."""
        with self.turn:
            if ticket in self._line:
                self._line.remove(ticket)
                self.turn.notify_all()

    def stop(self, owner: str) -> None:
        """Tell this owner's ticket to end."""
        with self.turn:
            for ticket in self._line:
                if ticket.owner == owner:
                    ticket.end()
            self.turn.notify_all()

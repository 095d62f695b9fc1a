"""Answers by the models of a server: the same interface as the engine of this machine."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from medlora.errors import MedloraError, RunFailedError
from medlora.services.chat_events import (
    Broken,
    EngineEvent,
    Finished,
    Numbered,
    Question,
    ServedModel,
)
from medlora.services.waiting_line import Ticket, WaitingLine

if TYPE_CHECKING:
    from medlora.config.server import Server
    from medlora.services.server_call import ServerCall

KEY_VARIABLE = "MEDLORA_API_KEY"
_LOOK_S = 0.2
_SILENCE_S = 600.0
_Heard = tuple[int, EngineEvent | MedloraError]


class ServerEngine:
    """Asks a server for as many answers at once as the settings allow; the others wait in line.

    Why the key is read when it is needed and kept nowhere: it belongs into no file, log or message.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, int], WaitingLine[Ticket]] = {}

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        """The answer as it comes. Closing the iterator stops it.

        Raises: UserError for what the user can mend, RunFailedError when the answer breaks off.
        """
        for _, event in self._ask([question], owner):
            if isinstance(event, MedloraError):
                raise event
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        """The answers of several speakers, all asked at once, at one place in the line."""
        for number, event in self._ask(questions, owner):
            yield number, Broken(str(event)) if isinstance(event, MedloraError) else event

    def warm(self) -> None:
        """Nothing to do: the server keeps its models."""

    def stop(self, owner: str) -> None:
        """Stop this owner's answers."""
        with self._lock:
            lines = list(self._lines.values())
        for line in lines:
            line.stop(owner)

    def free(self, reason: str) -> None:
        """Nothing to give back: no weights are held here."""

    def close(self) -> None:
        """Nothing to end: each answer's thread ends with it."""

    def _ask(
        self, questions: Sequence[Question], owner: str
    ) -> Generator[tuple[int | None, EngineEvent | MedloraError], None, None]:
        line = self._line_of(_server(questions[0]))
        ticket = line.join(Ticket(owner))
        calls: list[ServerCall] = []
        try:
            for waiting in line.wait(ticket):
                yield None, waiting
            if ticket.stop:
                yield None, Finished(stopped=True)
                return
            heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
            calls += self._start(questions, heard)
            yield from _listen(ticket, heard, len(calls))
        finally:
            for call in calls:
                call.stop()
            line.leave(ticket)

    def _start(self, questions: Sequence[Question], heard: queue.SimpleQueue[_Heard]) -> list[ServerCall]:
        from medlora.services.server_call import ServerCall

        key = self._environ.get(KEY_VARIABLE, "").strip()
        calls = []
        for number, question in enumerate(questions):

            def tell(event: EngineEvent | MedloraError, number: int = number) -> None:
                heard.put((number, event))

            calls.append(ServerCall(question, key, tell))
            calls[-1].start()
        return calls

    def _line_of(self, server: Server) -> WaitingLine[Ticket]:
        with self._lock:
            return self._lines.setdefault((server.base_url, server.at_once), WaitingLine(server.at_once))


def _server(question: Question) -> Server:
    assert isinstance(question.base, ServedModel)
    return question.base.server


def _listen(
    ticket: Ticket, heard: queue.SimpleQueue[_Heard], count: int
) -> Generator[tuple[int | None, EngineEvent | MedloraError], None, None]:
    """What the calls tell, until each has ended; a stop is heard within a moment."""
    going, silence_s = set(range(count)), 0.0
    while going:
        if ticket.stop:
            for number in sorted(going):
                yield number, Finished(stopped=True)
            return
        try:
            number, event = heard.get(timeout=_LOOK_S)
        except queue.Empty:
            silence_s += _LOOK_S
            if silence_s > _SILENCE_S:
                raise RunFailedError("server: it has been silent for ten minutes; ask again") from None
            continue
        silence_s = 0.0
        if isinstance(event, Finished | MedloraError):
            going.discard(number)
        yield number, event

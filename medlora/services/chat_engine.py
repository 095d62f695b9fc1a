"""The chat engine's client: one queue of questions before one chat process. Free of torch."""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from medlora.services.chat_events import EngineEvent, Finished, Numbered, Question, Stage, Started, read_event
from medlora.services.chat_process import PROTOCOL, ChatProcess, Message
from medlora.services.waiting_line import Ticket, WaitingLine
from medlora.workspace import Workspace

_LOOK_S = 0.5
_SILENCE_S = 600.0


@dataclass(eq=False)
class _Ticket(Ticket):
    """One question's place in the line, and the process it was sent to."""

    number: int = 0
    inbox: queue.SimpleQueue[Message] = field(default_factory=queue.SimpleQueue)
    loading: bool = True
    process: ChatProcess | None = None

    @property
    def sent(self) -> bool:
        return self.process is not None

    def end(self) -> None:
        if self.process is not None and not self.stop:
            self.process.send({"op": "stop", "id": self.number})
        self.stop = True


class ChatEngine:
    """Answers one question at a time, first come, first served; starts its process when first needed.

    The process is ended with `close`, at the interpreter's exit, and by its own input's end: none is left
    behind. One that dies is started anew by the next question.
    """

    def __init__(
        self, ws: Workspace, *, threads: int = 0, idle_s: float | None = None, stop_grace_s: float = 5.0
    ) -> None:
        self._ws = ws
        self._threads = threads
        self._idle_s = idle_s
        self._stop_grace_s = stop_grace_s
        self._line = WaitingLine[_Ticket](at_once=1)
        self._process: ChatProcess | None = None
        self._numbers = itertools.count(1)
        self._idle_timer: threading.Timer | None = None
        self.device: str | None = None
        atexit.register(self.close)

    def __enter__(self) -> ChatEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process that holds the weights, if there is one."""
        process = self._process
        return process.pid if process else None

    # The questions
    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        """The answer as it comes. Closing the iterator stops the answer.

        Raises: UserError for what the user can mend, RunFailedError when the process dies.
        """
        for _, event in self._ask({"op": "generate", **asdict(question)}, owner):
            yield event

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        """The answers of several speakers to be shown together, at one place in the line.

        Raises: RunFailedError when the process dies; what is wrong with one speaker is an event of its own.
        """
        message = {"op": "compare", "questions": [asdict(question) for question in questions]}
        yield from self._ask(message, owner)

    def _ask(self, message: Message, owner: str) -> Generator[Numbered, None, None]:
        ticket = self._line.join(_Ticket(owner, number=next(self._numbers)))
        try:
            for waiting in self._line.wait(ticket):
                yield None, waiting
            if ticket.stop:
                yield None, Finished(stopped=True)
            else:
                yield from self._serve(ticket, message)
        finally:
            self._leave(ticket)

    def warm(self) -> None:
        """Start the process now, so that the first question waits for less; it loads no model yet."""
        with self._line.turn:
            if self._process is None:
                self._start()
        self._set_idle_timer()

    def stop(self, owner: str) -> None:
        """Stop this owner's answer, also while it waits its turn; nothing happens if there is none."""
        self._line.stop(owner)

    def free(self, reason: str) -> None:
        """Give the memory back at once; an answer under way ends with this reason."""
        with self._line.turn:
            process, self._process = self._process, None
            for ticket in self._line:
                if ticket.sent:
                    ticket.inbox.put({"ev": "interrupted", "message": reason})
        if process is not None:
            process.close()

    def close(self) -> None:
        """End the process; a later question would start a new one."""
        atexit.unregister(self.close)
        self._cancel_idle_timer()
        self.free("chat: the engine was closed")

    def _serve(self, ticket: _Ticket, question: Message) -> Iterator[Numbered]:
        """Send the question and pass on what comes back.

        Why a second attempt: a process that ended while idle is noticed only when it is written to.
        """
        for attempt in (1, 2):
            if self._send(ticket, question):
                yield None, Stage("starting")
            heard = False
            while True:
                message = self._next_message(ticket)
                if message["ev"] == "ended" and attempt == 1 and not heard and message["code"] == 0:
                    break
                heard = True
                if message["ev"] != "end":
                    event = read_event(message)
                    if isinstance(event, Stage | Started):
                        ticket.loading = isinstance(event, Stage)
                    yield message.get("of"), event
                if _is_last(message):
                    return

    def _next_message(self, ticket: _Ticket) -> Message:
        """The next message; a stopped answer is not waited for longer than a moment.

        Why a limit on silence: one hung process would hold up everybody in the line.
        """
        for _ in range(int(_SILENCE_S / _LOOK_S)):
            try:
                return ticket.inbox.get(timeout=_LOOK_S)
            except queue.Empty:
                if ticket.stop:
                    return {"ev": "done", "stopped": True, "truncated": False}
        with self._line.turn:
            process = self._process
        if process is not None:
            process.kill()
        return {"ev": "ended", "code": None}

    def _send(self, ticket: _Ticket, question: Message) -> bool:
        """Hand the question to the process; True if that had to be started."""
        self._cancel_idle_timer()
        message = {"id": ticket.number, **question}
        with self._line.turn:
            fresh = self._process is None
            process = self._process or self._start()
            self._line.return_first(ticket)
            ticket.process = process
            if ticket.stop:
                process.send({"op": "stop", "id": ticket.number})
        if not process.send(message):
            process.kill()
        return fresh

    def _leave(self, ticket: _Ticket) -> None:
        """Out of the line, or, while the process is still busy with it, as soon as that has stopped."""
        with self._line.turn:
            if ticket not in self._line:
                return
            if not ticket.sent:
                self._line.leave(ticket)
                return
            ticket.end()
        grace = self._stop_grace_s * (24 if ticket.loading else 1)
        watch = threading.Timer(grace, self._kill_if_stuck, (ticket,))
        watch.daemon = True
        watch.start()

    def _kill_if_stuck(self, ticket: _Ticket) -> None:
        with self._line.turn:
            process = ticket.process if ticket in self._line else None
        if process is not None:
            process.kill()

    # The process
    def _start(self) -> ChatProcess:
        """Called with the lock held."""
        self._process = ChatProcess(self._ws, self._threads, self._hear, self._mourn)
        return self._process

    def _hear(self, process: ChatProcess, message: Message) -> None:
        """From the reading thread: a message of the process."""
        if message["ev"] == "ready":
            self.device = str(message["device"])
            if message["protocol"] != PROTOCOL:
                process.kill()
            return
        with self._line.turn:
            ticket = next((ticket for ticket in self._line if ticket.number == message.get("id")), None)
            if ticket is None:
                return
            ticket.inbox.put(message)
            if _is_last(message):
                self._line.leave(ticket)
                self._set_idle_timer()

    def _mourn(self, process: ChatProcess, code: int) -> None:
        """From the reading thread: the process has ended."""
        with self._line.turn:
            if self._process is process:
                self._process = None
            for ticket in self._line:
                if ticket.process is process:
                    ticket.inbox.put({"ev": "ended", "code": code})
                    self._line.leave(ticket)

    def _set_idle_timer(self) -> None:
        self._cancel_idle_timer()
        if self._idle_s is not None:
            self._idle_timer = threading.Timer(self._idle_s, self._end_if_idle)
            self._idle_timer.daemon = True
            self._idle_timer.start()

    def _cancel_idle_timer(self) -> None:
        timer, self._idle_timer = self._idle_timer, None
        if timer is not None:
            timer.cancel()

    def _end_if_idle(self) -> None:
        with self._line.turn:
            idle = not list(self._line)
        if idle:
            self.free("chat: the engine was idle")


def _is_last(message: Message) -> bool:
    """Whether nothing more comes for this question; of several speakers each has an end of its own before."""
    return message["ev"] == "end" or (message["ev"] in ("done", "error") and message.get("of") is None)

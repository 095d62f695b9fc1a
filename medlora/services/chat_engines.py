"""Every question to whoever can answer it: weights on this machine, or the models of a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from medlora.errors import MedloraError
from medlora.services.chat_audit import log_failure
from medlora.services.chat_events import (
    AnswerEngine,
    Broken,
    EngineEvent,
    Numbered,
    Question,
    ServedModel,
)

_BROKE = "chat: an unexpected error ended this answer; ask again"


class Engines:
    """Two engines as one; side by side they speak at the same time."""

    def __init__(self, here: AnswerEngine, served: AnswerEngine) -> None:
        self._here = here
        self._served = served

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        """The answer of the one that can give it."""
        with closing(self._engine_of(question).generate(question, owner)) as events:
            yield from events

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        """All answers as they come, whoever gives them."""
        parts = []
        for engine in (self._here, self._served):
            numbers = [at for at, question in enumerate(questions) if self._engine_of(question) is engine]
            if numbers:
                parts.append(_Part(engine, numbers, [questions[at] for at in numbers]))
        if len(parts) == 1:
            with closing(parts[0].engine.compare(questions, owner)) as events:
                yield from events
            return
        yield from _merge(parts, owner)

    def warm(self) -> None:
        self._here.warm()

    def stop(self, owner: str) -> None:
        for engine in (self._here, self._served):
            engine.stop(owner)

    def free(self, reason: str) -> None:
        """Give back what the engine of this machine holds; a server's models are its own business."""
        self._here.free(reason)

    def close(self) -> None:
        for engine in (self._here, self._served):
            engine.close()

    def _engine_of(self, question: Question) -> AnswerEngine:
        return self._served if isinstance(question.base, ServedModel) else self._here


@dataclass(frozen=True)
class _Part:
    """The questions of one engine, with their places among all of them."""

    engine: AnswerEngine
    numbers: list[int]
    questions: list[Question]


def _merge(parts: Sequence[_Part], owner: str) -> Generator[Numbered, None, None]:
    """Why threads: each engine is listened to by waiting for it."""
    heard: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()
    left = threading.Event()
    for part in parts:
        threading.Thread(target=_listen, args=(part, owner, heard, left), daemon=True).start()
    try:
        going = len(parts)
        while going:
            item = heard.get()
            if item is None:
                going -= 1
            else:
                yield item
    finally:
        left.set()
        for part in parts:
            part.engine.stop(owner)


def _listen(
    part: _Part, owner: str, heard: queue.SimpleQueue[Numbered | None], left: threading.Event
) -> None:
    """Pass on what one engine says; one that fails breaks off its own speakers and no others."""
    reason = ""
    try:
        with closing(part.engine.compare(part.questions, owner)) as events:
            for of, event in events:
                if left.is_set():
                    return
                for number in part.numbers if of is None else [part.numbers[of]]:
                    heard.put((number, event))
    except MedloraError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - the thread's edge: the other speakers go on
        log_failure("an engine failed", error)
        reason = _BROKE
    finally:
        for number in part.numbers if reason else ():
            heard.put((number, Broken(reason)))
        heard.put(None)

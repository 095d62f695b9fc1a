"""Chat on ZeroGPU: the model speaks in the web process, inside a function to which a GPU is lent.

Why plain generator functions: `spaces.GPU` cannot lend to a coroutine, and an async generator passes its
decorator without a word and fails when it is called. What crosses to the process that has the GPU is pickled,
so the messages are plain values, the same as the chat process of every other machine sends.
Not covered: a reason from the Hub (no quota left) comes as an exception of the decorator; it ends it.
"""

from __future__ import annotations

import functools
import itertools
import queue
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medlora.errors import RunFailedError
from medlora.services.chat_events import EngineEvent, Finished, Numbered, Question, read_event

LENT_S = 60
Message = dict[str, Any]
Speak = Callable[[Message, str], Iterator[Message]]


@functools.lru_cache(maxsize=1)
def _engine() -> Any:
    """One engine for each process that has a GPU."""
    from medlora.inference.engine import Engine

    return Engine()


def speak(message: Message, stop_file: str) -> Iterator[Message]:
    """The messages of one answer; ends early once the stop file is there."""
    from medlora.inference.protocol import RequestError, read_request

    said: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def emit(event: str, **fields: Any) -> None:
        said.put({"ev": event, **fields})

    def work() -> None:
        try:
            _engine().generate(read_request(message), emit, Path(stop_file).exists)
        except RequestError as error:
            emit("error", kind="request", message=str(error))
        except Exception as error:  # noqa: BLE001 - the process edge; its words may quote what somebody wrote
            emit("error", kind="bug", message=type(error).__name__)
        finally:
            said.put(None)

    threading.Thread(target=work, name="speak", daemon=True).start()
    while (next_said := said.get()) is not None:
        yield next_said


def lend_gpu() -> Speak:
    """`speak` with a GPU where ZeroGPU lends one; the same function anywhere else."""
    import spaces

    lent: Speak = spaces.GPU(duration=LENT_S)(speak)
    return lent


class InProcessEngine:
    """The chat engine's interface without a process of its own; ZeroGPU queues what it cannot serve yet."""

    def __init__(self, speak: Speak) -> None:
        self._speak = speak
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stops: dict[str, list[Path]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="medlora-stops-")

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]:
        """The answer as it comes; closing the iterator stops it.

        Raises: UserError for what the user can mend, RunFailedError when no GPU was lent.
        """
        number = next(self._numbers)
        stop_file = Path(self._folder.name) / str(number)
        with self._lock:
            self._stops.setdefault(owner, []).append(stop_file)
        try:
            for message in self._messages({"op": "generate", "id": number, **asdict(question)}, stop_file):
                event = read_event(message)
                yield event
                if isinstance(event, Finished):
                    return
            raise RunFailedError("chat: the answer ended before its time; ask again")
        finally:
            stop_file.touch()
            with self._lock:
                self._stops[owner].remove(stop_file)

    def _messages(self, request: Message, stop_file: Path) -> Iterator[Message]:
        try:
            yield from self._speak(request, str(stop_file))
        except Exception as error:
            raise RunFailedError(
                f"chat: the Space lent no GPU ({type(error).__name__}); try again later"
            ) from error

    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]:
        """Several answers, one after another."""
        for number, question in enumerate(questions):
            for event in self.generate(question, owner):
                yield number, event

    def warm(self) -> None:
        """Nothing to do: a GPU is lent for an answer only."""

    def stop(self, owner: str) -> None:
        """Stop this owner's answer."""
        with self._lock:
            for stop_file in self._stops.get(owner, ()):
                stop_file.touch()

    def free(self, reason: str) -> None:
        """Nothing to give back: ZeroGPU takes its GPU by itself."""

    def close(self) -> None:
        """Remove the stop files."""
        self._folder.cleanup()

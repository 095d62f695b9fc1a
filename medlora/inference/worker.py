"""The chat process: `python -m medlora.inference.worker`, JSON lines in, JSON lines out.

It ends when its input ends, so it cannot outlive the process that started it. Its standard output carries
the protocol and nothing else; its standard error is a private log that never holds what a user wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from medlora.inference.protocol import PROTOCOL, RequestError, read_request


class Channel:
    """The protocol's way out; may be used by several threads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        line = json.dumps({"ev": event, **fields}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()


class Inbox:
    """What the client asked for, read by a thread of its own so that Stop is heard during an answer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stopped: set[int] = set()

    def start(self) -> None:
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next request; waits for it."""
        return self._waiting.get()

    @property
    def empty(self) -> bool:
        return self._waiting.empty()

    def is_stopped(self, number: int) -> bool:
        return number in self._stopped

    def _read(self) -> None:
        for line in self._file:
            message = json.loads(line)
            if message["op"] == "stop":
                self._stopped.add(int(message["id"]))
            else:
                self._waiting.put(message)
        # The client is gone: nobody is left to answer to, whatever the main thread is doing.
        os._exit(0)


def main(arguments: list[str] | None = None) -> None:
    """Serve requests until the input ends."""
    parser = argparse.ArgumentParser(prog="medlora.inference.worker")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 lets the library choose")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel, inbox = Channel(_claim_output()), Inbox(sys.stdin.buffer)
    inbox.start()
    _Server(channel, inbox, options.threads).serve()


def _claim_output() -> BinaryIO:
    """Keep standard output for the protocol and send every stray print to the log instead."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


class _Server:
    """Carries out requests, one after another."""

    def __init__(self, channel: Channel, inbox: Inbox, threads: int) -> None:
        # Heavy imports happen here, after the inbox listens: a client that leaves meanwhile is noticed.
        import torch

        if not torch.cuda.is_available():
            # PEFT would import it for its quantized layers, which only a GPU loads here: half a start's time.
            sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
        import transformers

        from medlora.inference.engine import Engine

        if threads:
            torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._channel = channel
        self._inbox = inbox
        self._engine = Engine()
        channel.send("ready", protocol=PROTOCOL, device=self._engine.device, threads=torch.get_num_threads())

    def serve(self) -> None:
        while True:
            if self._inbox.empty:
                self._read_ahead()
            message = self._inbox.next()
            if message["op"] == "free":
                self._engine.free()
                self._channel.send("freed")
            else:
                self._answer(message)

    def _read_ahead(self) -> None:
        try:
            self._engine.idle(lambda: not self._inbox.empty)
        except Exception as error:  # noqa: BLE001 - the process edge: it was only to save time
            self._record(error)

    def _record(self, error: Exception) -> None:
        """Frames only: the text of an exception may quote what the user wrote."""
        sys.stderr.write(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
        sys.stderr.flush()
        self._engine.free()

    def _answer(self, message: Mapping[str, Any]) -> None:
        number = int(message["id"])

        def emit(event: str, **fields: Any) -> None:
            self._channel.send(event, id=number, **fields)

        def stopped() -> bool:
            return self._inbox.is_stopped(number)

        try:
            if message["op"] == "compare":
                self._engine.compare([read_request(each) for each in message["questions"]], emit, stopped)
                emit("end")
            else:
                self._engine.generate(read_request(message), emit, stopped)
        except RequestError as error:
            emit("error", kind="request", message=str(error))
        except Exception as error:  # noqa: BLE001 - the process edge: the next request must still be served
            self._record(error)
            emit("error", kind="bug", message=type(error).__name__)


if __name__ == "__main__":
    main()

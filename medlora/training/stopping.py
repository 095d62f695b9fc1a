"""How a run learns that it should stop: a file in its folder, or a signal."""

from __future__ import annotations

import signal
from types import FrameType

from medlora.runs.stop import StopListener, read_stop
from medlora.workspace import RunPaths


class StoppedEarly(Exception):
    """A stop was asked for before the first step: there is nothing to keep."""


class StopWish:
    """Whether this run was asked to stop; SIGTERM counts as stop-and-keep."""

    def __init__(self, run: RunPaths) -> None:
        self._run = run
        self._signalled = False

    def listen(self, *, answers: bool = True) -> None:
        """Take SIGTERM and Ctrl+C as the wish to stop, not to die, and answer a stop file at once.

        answers: whether this process writes the answer; one of several does.
        """
        if answers:
            StopListener(self._run).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    @property
    def requested(self) -> bool:
        return self._signalled or self._run.stop_file.exists()

    @property
    def discard(self) -> bool:
        """Whether nothing of the run shall be kept."""
        wish = read_stop(self._run)
        return wish is not None and wish.discard

    def check(self) -> None:
        """Raises: StoppedEarly when a stop was asked for."""
        if self.requested:
            raise StoppedEarly

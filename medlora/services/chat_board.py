"""The speakers of one question side by side, and what is shown of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medlora.services.chat_events import EngineEvent
from medlora.services.chat_speaker import Speaker
from medlora.services.chat_turn import ChatUpdate


class Board:
    """Passes on what the engine says to whom it is meant for; `asked` are those whom a model answers."""

    def __init__(self, speakers: Sequence[Speaker]) -> None:
        self._speakers = tuple(speakers)
        self._shown = [0] * len(self._speakers)
        self.asked = tuple(speaker for speaker in speakers if not speaker.done)

    @property
    def done(self) -> bool:
        return all(speaker.done for speaker in self._speakers)

    def show(self) -> tuple[ChatUpdate, ...]:
        """All replies as they stand; their deltas are what came since they were shown last."""
        now = tuple(
            replace(speaker.update, delta=speaker.update.text[shown:])
            for speaker, shown in zip(self._speakers, self._shown, strict=True)
        )
        self._shown = [len(update.text) for update in now]
        return now

    def hear(self, of: int | None, event: EngineEvent) -> bool:
        """An event for one of those asked, or for all; whether there is something new to show."""
        meant = self.asked if of is None else (self.asked[of],)
        return any([speaker.hear(event) for speaker in meant])

    def report(self, stage: str, fraction: float | None) -> None:
        for speaker in self.asked:
            speaker.report(stage, fraction)

    def notice(self, message: str) -> None:
        for speaker in self.asked:
            speaker.notice(message)

    def break_off(self, reason: str) -> None:
        for speaker in self.asked:
            speaker.break_off(reason)

    def fail_closed(self, error: Exception) -> None:
        for speaker in self.asked:
            speaker.fail_closed(error)

    def finish(self) -> None:
        for speaker in self.asked:
            speaker.finish()

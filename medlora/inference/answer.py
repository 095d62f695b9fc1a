"""An answer as it grows: its tokens, its text, its figures."""

from __future__ import annotations

import time
from collections.abc import Callable

from medlora.inference.prompt import Prompt
from medlora.inference.sampling import Sampler
from medlora.inference.stream import TextStream
from medlora.inference.weights import Ready

Emit = Callable[..., None]


class Answer:
    """Takes token after token and sends text as it becomes certain, up to a token that ends the answer."""

    def __init__(self, ready: Ready, prompt: Prompt, sampler: Sampler, emit: Emit, began: float) -> None:
        self.ready = ready
        self.prompt = prompt
        self.sampler = sampler
        self.ids: list[int] = []
        self.end: list[int] = []
        self.complete = False
        self._ended = False
        self._emit = emit
        self._began = began
        self._stream = TextStream(ready.tokenizer)
        self._count = 0
        self._first_at: float | None = None
        self._last_at = began

    @staticmethod
    def now() -> float:
        """The clock that an answer's figures are taken from, in seconds."""
        return time.perf_counter()

    def take(self, token: int) -> None:
        """The next token."""
        self._count += 1
        self._last_at = self.now()
        self._first_at = self._first_at or self._last_at
        self._ended = token in self.ready.stops
        if self._ended:
            self.end.append(token)
        else:
            self.ids.append(token)
            self._send(self._stream.feed(token))
        self.complete = self._ended or self._count >= self.prompt.answer_room
        if self.complete:
            self._close(stopped=False)

    def finish(self, stopped: bool) -> None:
        """Send the end of an answer that was broken off; one that is complete has sent it."""
        if not self.complete:
            self.complete = True
            self._close(stopped=stopped)

    def break_off(self, reason: str) -> None:
        """The answer cannot go on, for a reason in words; one that is complete stays so."""
        if not self.complete:
            self.complete = True
            self._emit("error", kind="request", message=reason)

    def _close(self, *, stopped: bool) -> None:
        self._send(self._stream.finish())
        truncated = not self._ended and not stopped
        self._emit("done", stopped=stopped, truncated=truncated, **self._figures())

    def _figures(self) -> dict[str, float | int | None]:
        """Units: seconds; the rate is that of the tokens after the first."""
        if self._first_at is None:
            return {"tokens": 0, "seconds_to_first_token": None, "tokens_per_second": None}
        spent = max(self._last_at - self._first_at, 1e-9)
        return {
            "tokens": self._count,
            "seconds_to_first_token": round(self._first_at - self._began, 4),
            "tokens_per_second": round((self._count - 1) / spent, 2) if self._count > 1 else None,
        }

    def _send(self, piece: str) -> None:
        if piece:
            self._emit("text", text=piece, tokens=self._count)

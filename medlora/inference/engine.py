"""One answer at a time: prompt, weights, tokens, text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import torch

from medlora.errors import UserError
from medlora.inference.decode import Stopped
from medlora.inference.prompt import Prompt, fit_prompt
from medlora.inference.protocol import Request, RequestError
from medlora.inference.sampling import Sampler
from medlora.inference.stream import TextStream
from medlora.inference.weights import Ready, Weights

Emit = Callable[..., None]


class _Answer:
    """An answer as it grows: its tokens, its text, its figures."""

    def __init__(self, ready: Ready, began: float, emit: Emit) -> None:
        self.ids: list[int] = []
        self.ended = False
        self._ready = ready
        self._began = began
        self._emit = emit
        self._stream = TextStream(ready.tokenizer)
        self._count = 0
        self._first_at: float | None = None

    def grow(self, tokens: Iterator[int]) -> None:
        """Take token after token, sending text as it becomes certain, up to one that ends the answer."""
        for token in tokens:
            self._count += 1
            self._first_at = self._first_at or time.perf_counter()
            self.ended = token in self._ready.stops
            if self.ended:
                break
            self.ids.append(token)
            self._send(self._stream.feed(token))
        self._send(self._stream.finish())

    def figures(self) -> dict[str, float | int | None]:
        """Units: seconds; the rate is that of the tokens after the first."""
        if self._first_at is None:
            return {"tokens": 0, "seconds_to_first_token": None, "tokens_per_second": None}
        spent = max(time.perf_counter() - self._first_at, 1e-9)
        return {
            "tokens": self._count,
            "seconds_to_first_token": round(self._first_at - self._began, 4),
            "tokens_per_second": round((self._count - 1) / spent, 2) if self._count > 1 else None,
        }

    def _send(self, piece: str) -> None:
        if piece:
            self._emit("text", text=piece, tokens=self._count)


class Engine:
    """Answers requests one after another; belongs to one thread."""

    def __init__(self, *, reuse_prefix: bool = True) -> None:
        self._weights = Weights(reuse_prefix=reuse_prefix)
        self._latest: tuple[Ready, list[int]] | None = None

    @property
    def device(self) -> str:
        return str(self._weights.device)

    def generate(self, request: Request, emit: Emit, stopped: Stopped) -> None:
        """Answer, saying everything through `emit`: stage, notice, start, text, done.

        Why the label is sent from here: between preparing the weights and the last token nothing else can
        touch them, so what is read off them is what answers.
        Raises: RequestError for what the user can mend.
        """
        began = time.perf_counter()
        self._latest = None
        try:
            ready = self._weights.prepare(
                request.base, request.adapter, lambda stage: emit("stage", stage=stage)
            )
            prompt = _build_prompt(ready, request)
            for notice in (*ready.notices, *prompt.notices):
                emit("notice", message=notice)
            sampler = Sampler(request.sampling, prompt.ids, ready.vocabulary, self._weights.device)
            emit("start", label=ready.label.to_wire(), prompt_tokens=len(prompt.ids), seed=sampler.seed)
            answer = _Answer(ready, began, emit)
            with closing(ready.decoder.tokens(ready.key, prompt.ids, sampler, stopped)) as tokens:
                answer.grow(islice(tokens, prompt.answer_room))
        except torch.OutOfMemoryError as error:
            self.free()
            raise RequestError(
                "model: the memory of the device does not suffice for this conversation; "
                "start a new one, or choose a smaller model"
            ) from error
        halted = stopped() and not answer.ended
        truncated = not answer.ended and not halted
        emit("done", stopped=halted, truncated=truncated, **answer.figures())
        self._latest = (ready, [*prompt.ids, *answer.ids])

    def compare(self, requests: Sequence[Request], emit: Emit, stopped: Stopped) -> None:
        """Answer several requests to be shown together; what is sent carries the number of its request."""
        for number, request in enumerate(requests):
            try:
                self.generate(request, partial(emit, of=number), stopped)
            except RequestError as error:
                emit("error", of=number, kind="request", message=str(error))

    def idle(self, stopped: Stopped) -> None:
        """Use idle time to read the last conversation to its end; its next question starts sooner."""
        if self._latest is not None:
            ready, ids = self._latest
            self._latest = None
            try:
                ready.decoder.read_ahead(ready.key, ids, stopped)
            except torch.OutOfMemoryError:
                self.free()

    def free(self) -> None:
        """Give the memory back."""
        self._latest = None
        self._weights.free()


def _build_prompt(ready: Ready, request: Request) -> Prompt:
    sampling = request.sampling
    context = min(ready.context, sampling.context_length or ready.context)
    messages: list[Any] = list(request.messages)
    try:
        return fit_prompt(ready.tokenizer.encode_prompt, messages, context, sampling.max_new_tokens)
    except UserError as error:
        raise RequestError(str(error)) from error

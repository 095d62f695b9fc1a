"""From a request to an answer: prompt, weights, tokens, text; one after another, or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from medlora.errors import UserError
from medlora.inference.answer import Answer, Emit
from medlora.inference.decode import Opened, Stopped
from medlora.inference.prompt import Prompt, fit_prompt
from medlora.inference.protocol import Request, RequestError
from medlora.inference.sampling import Sampler
from medlora.inference.weights import Ready, Weights

_NO_MEMORY = (
    "model: the memory of the device does not suffice for this conversation; "
    "start a new one, or choose a smaller model"
)


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

        Why the label is sent from here: between preparing the weights and reading the prompt nothing else
        can touch them, so what is read off them is what answers.
        Raises: RequestError for what the user can mend.
        """
        self._latest = None
        try:
            answer = self._begin(request, emit)
            opened = answer.ready.decoder.open(answer.ready.identity, answer.prompt.ids, stopped)
            self._speak([answer], [opened] if opened else [], stopped)
        except torch.OutOfMemoryError as error:
            self.free()
            raise RequestError(_NO_MEMORY) from error
        self._latest = (answer.ready, [*answer.prompt.ids, *answer.ids, *answer.end])

    def compare(self, requests: Sequence[Request], emit: Emit, stopped: Stopped) -> None:
        """Answer several requests to be shown together; what is sent carries the number of its request.

        All prompts are read first, each with its own weights; then the answers grow together, token by
        token. What only the whole model can speak (an adapter that replaces weights) is answered alone, and
        those that wait are answered before the base in memory is changed.
        """
        waiting: list[tuple[Answer, Opened]] = []
        for number, request in enumerate(requests):
            send = partial(emit, of=number)
            try:
                answer = self._begin(request, send, lambda: self._speak_together(waiting, stopped))
                opened = answer.ready.decoder.open(answer.ready.identity, answer.prompt.ids, stopped)
                if opened is not None and opened.row is not None:
                    waiting.append((answer, opened))
                else:
                    self._speak([answer], [opened] if opened else [], stopped)
            except RequestError as error:
                send("error", kind="request", message=str(error))
            except torch.OutOfMemoryError:
                self.free()
                send("error", kind="request", message=_NO_MEMORY)
        self._speak_together(waiting, stopped)
        self._latest = None

    def idle(self, stopped: Stopped) -> None:
        """Use idle time to read the last conversation to its end; its next question starts sooner."""
        if self._latest is not None:
            ready, ids = self._latest
            self._latest = None
            try:
                ready.decoder.read_ahead(ready.identity, ids, stopped)
            except torch.OutOfMemoryError:
                self.free()

    def free(self) -> None:
        """Give the memory back."""
        self._latest = None
        self._weights.free()

    def _begin(self, request: Request, emit: Emit, release: Callable[[], None] = lambda: None) -> Answer:
        """The weights in place, the prompt built, the label sent."""
        began = Answer.now()
        ready = self._weights.prepare(
            request.base, request.adapter, lambda stage: emit("stage", stage=stage), release
        )
        prompt = _build_prompt(ready, request)
        for notice in (*ready.notices, *prompt.notices):
            emit("notice", message=notice)
        sampler = Sampler(request.sampling, prompt.ids, ready.vocabulary, self._weights.device)
        emit("start", label=ready.label.to_wire(), prompt_tokens=len(prompt.ids), seed=sampler.seed)
        return Answer(ready, prompt, sampler, emit, began)

    def _speak_together(self, waiting: list[tuple[Answer, Opened]], stopped: Stopped) -> None:
        """Answer those that wait, side by side; none waits afterwards."""
        if not waiting:
            return
        answers, opened = zip(*waiting, strict=True)
        waiting.clear()
        try:
            self._speak(answers, opened, stopped)
        except torch.OutOfMemoryError:
            self.free()
            for answer in answers:
                answer.break_off(_NO_MEMORY)

    def _speak(self, answers: Sequence[Answer], opened: Sequence[Opened], stopped: Stopped) -> None:
        """Token after token for all, each to its own end; without `opened`, Stop came while reading."""
        live = list(zip(answers, opened, strict=False))
        try:
            logits: Sequence[torch.Tensor] = [each.logits for each in opened]
            while live:
                grown = []
                for (answer, prompt), scores in zip(live, logits, strict=True):
                    if not self._grow(answer, scores):
                        grown.append((answer, prompt))
                live = [] if stopped() else grown
                if live:
                    last = [answer.ids[-1] for answer, _ in live]
                    logits = live[0][0].ready.decoder.advance([prompt for _, prompt in live], last)
        finally:
            for answer, prompt in zip(answers, opened, strict=False):
                answer.ready.decoder.close(prompt)
        for answer in answers:
            answer.finish(stopped())

    @staticmethod
    def _grow(answer: Answer, scores: torch.Tensor) -> bool:
        """One more token; whether the answer is complete with it."""
        try:
            answer.take(answer.sampler.choose(scores))
        except RequestError as error:
            answer.break_off(str(error))
        return answer.complete


def _build_prompt(ready: Ready, request: Request) -> Prompt:
    sampling = request.sampling
    context = min(ready.context, sampling.context_length or ready.context)
    messages: list[Any] = list(request.messages)
    try:
        return fit_prompt(ready.tokenizer.encode_prompt, messages, context, sampling.max_new_tokens)
    except UserError as error:
        raise RequestError(str(error)) from error

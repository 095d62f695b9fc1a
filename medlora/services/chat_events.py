"""What an engine is asked and what it says back: plain values, the same for every kind of engine."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from medlora.config.server import Server
from medlora.errors import RunFailedError, UserError


@dataclass(frozen=True)
class ModelFolder:
    """A base model by name and local folder; whether it may answer from 4 bits (GPU) or 8 (processor)."""

    name: str
    folder: str
    four_bit: bool = False
    eight_bit: bool = False


@dataclass(frozen=True)
class ServedModel:
    """A model that a server runs, by the name the server knows it by."""

    name: str
    server: Server


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter by name and local folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = 0
    context_length: int | None = None


@dataclass(frozen=True)
class Question:
    """What an engine is asked: weights, messages (a system turn may come first), sampling."""

    base: ModelFolder | ServedModel
    adapter: AdapterFolder | None
    messages: tuple[Mapping[str, str], ...]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Waiting:
    """The question's place in the queue; 1 is next."""

    place: int


@dataclass(frozen=True)
class Stage:
    """What takes its time: starting, loading_model, loading_adapter."""

    name: str


@dataclass(frozen=True)
class Notice:
    """Something that was done differently, in words."""

    message: str


@dataclass(frozen=True)
class Started:
    """The answer begins; the label was read off the weights that speak.

    server: where they are, if not on this machine's own engine; then nobody here has seen the weights.
    """

    base: str
    adapter: str | None
    weights: str
    server: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Text:
    """A piece of the answer: raw words of a model, not yet judged."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Finished:
    """The end of the answer. Units: seconds; the rate counts the tokens after the first."""

    stopped: bool
    truncated: bool = False
    tokens: int = 0
    seconds_to_first_token: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Broken:
    """One of several answers cannot be given, for a reason in words; the others go on."""

    reason: str


EngineEvent = Waiting | Stage | Notice | Started | Text | Finished | Broken
Numbered = tuple[int | None, EngineEvent]
"""Which of several questions an event belongs to; None is all of them."""


class AnswerEngine(Protocol):
    """Whatever turns a question into an answer."""

    def generate(self, question: Question, owner: str) -> Generator[EngineEvent, None, None]: ...
    def compare(self, questions: Sequence[Question], owner: str) -> Generator[Numbered, None, None]: ...
    def warm(self) -> None: ...
    def stop(self, owner: str) -> None: ...
    def free(self, reason: str) -> None: ...
    def close(self) -> None: ...


def read_event(message: Mapping[str, Any]) -> EngineEvent:
    """The event in a message.

    Raises: UserError and RunFailedError for those that report one.
    """
    kind = message["ev"]
    if kind == "error" and message.get("of") is not None and message["kind"] == "request":
        return Broken(message["message"])
    if kind == "stage":
        return Stage(message["stage"])
    if kind == "notice":
        return Notice(message["message"])
    if kind == "start":
        return Started(**message["label"])
    if kind == "text":
        return Text(message["text"], message["tokens"])
    if kind == "done":
        return Finished(
            stopped=message["stopped"],
            truncated=message["truncated"],
            tokens=message.get("tokens", 0),
            seconds_to_first_token=message.get("seconds_to_first_token"),
            tokens_per_second=message.get("tokens_per_second"),
        )
    raise _failure(message)


def _failure(message: Mapping[str, Any]) -> Exception:
    if message["ev"] == "interrupted":
        return RunFailedError(message["message"])
    if message["ev"] == "ended":
        return RunFailedError(
            f"chat: the process that runs the model ended unexpectedly (exit code {message['code']}); "
            "the conversation is kept: ask again and it is started anew"
        )
    if message.get("kind") == "request":
        return UserError(message["message"])
    return RunFailedError(
        f"chat: the process that runs the model had an unexpected error ({message.get('message')}); "
        "its log is .medlora/logs/chat.log"
    )

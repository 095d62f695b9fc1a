"""What goes into a chat turn and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from medlora.config.schema import Config, InferenceSettings
from medlora.config.server import Server
from medlora.errors import UserError
from medlora.feedback.records import short_model
from medlora.safety.decision import Finding, TurnLike

_LONGEST_MESSAGE = 32_000
_MOST_TURNS = 400
Turns = Sequence[TurnLike | Mapping[str, Any]]


@dataclass(frozen=True)
class ChatSettings:
    """Which weights answer, how, and under which safety settings.

    adapter: None is the base model alone. safety: a configuration's `safety` section; what is missing
    takes its default. The base model of an adapter is the one it was trained on. server: where the base
    model speaks, if not on this machine's own engine; then it is one of the server's names. user: who asks,
    for the audit: the account that is logged in, on the command line that of this computer.
    """

    adapter: str | None = None
    base_model: str = "starter"
    system_prompt: str = ""
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    safety: Mapping[str, Any] = field(default_factory=dict)
    server: Server | None = None
    user: str | None = None

    @classmethod
    def from_config(
        cls, config: Config, adapter: str | None = None, base_model: str | None = None
    ) -> ChatSettings:
        """The settings a configuration asks for."""
        return cls(
            adapter=adapter,
            base_model=base_model or config.model.base_model_name,
            system_prompt=config.safety.system_prompt,
            inference=config.inference,
            safety=config.safety.model_dump(mode="json"),
        )

    @property
    def remote_host(self) -> str:
        """Where the words go if they leave this machine; empty if they stay."""
        return "" if self.server is None or self.server.is_local else self.server.host

    def with_sampling(self, **values: Any) -> ChatSettings:
        """The same with other sampling values.

        Raises: UserError for a value out of its bounds.
        """
        try:
            inference = InferenceSettings(**{**self.inference.model_dump(), **values})
        except ValidationError as error:
            raise UserError("\n".join(_describe(problem) for problem in error.errors())) from None
        return replace(self, inference=inference)


def _describe(problem: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    return f"chat: inference.{name}: {problem['msg'].lower()} (got {problem['input']!r}); mend it"


@dataclass(frozen=True)
class TraceLine:
    """One reason of the safety layer: where it looked, what it found, what that did."""

    where: str
    level: str
    rule: str
    context: tuple[str, ...]
    source: str
    effect: str

    def __str__(self) -> str:
        context = f" ({', '.join(self.context)})" if self.context else ""
        source = f" [{self.source}]" if self.source else ""
        return f"{self.where}: {self.rule.replace('_', ' ')}{context} → {self.effect}{source}"


@dataclass(frozen=True)
class ChatUpdate:
    """The reply so far; each update replaces the one before.

    text: judged, and nothing else ever was. delta: what this update added to it. action: what the safety
    layer did (answer, annotate, defer, block). notes belong under the answer, the banner above the chat.
    stage: what is being waited for, in words, with its fraction where one is known. label: the weights
    that speak, None while they are not known or were never asked; precision: that of their numbers.
    error: why the answer broke off.
    """

    text: str = ""
    delta: str = ""
    done: bool = False
    level: str = "answer"
    action: str = "answer"
    findings: tuple[Finding, ...] = ()
    trace: tuple[TraceLine, ...] = ()
    notes: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    banner: str | None = None
    stage: str = ""
    fraction: float | None = None
    queue_place: int | None = None
    base_model: str | None = None
    adapter: str | None = None
    weights: str | None = None
    server: str | None = None
    precision: str | None = None
    tokens: int = 0
    seconds_to_first_token: float | None = None
    tokens_per_second: float | None = None
    truncated: bool = False
    stopped: bool = False
    withheld: bool = False
    error: str | None = None

    @property
    def label(self) -> str | None:
        """The adapter's (or base model's) name with the short hash of the weights that answered."""
        if not self.weights:
            return None
        name = self.adapter or short_model(self.base_model or "")
        if self.server:
            return f"{name} at {self.server} · weights {self.weights}"
        return f"{name} · {self.weights}"

    def as_dict(self) -> dict[str, Any]:
        """The reply as `chat --json` prints it."""
        return {
            "text": self.text,
            "level": self.level,
            "action": self.action,
            "findings": [finding.as_dict() for finding in self.findings],
            "adapter": self.adapter,
            "base_model": self.base_model,
            "weights": self.weights,
            "server": self.server,
            "precision": self.precision,
            "tokens": self.tokens,
            "seconds_to_first_token": self.seconds_to_first_token,
            "tokens_per_second": self.tokens_per_second,
            "truncated": self.truncated,
            "stopped": self.stopped,
            "withheld": self.withheld,
            "notes": list(self.notes),
            "notices": list(self.notices),
            "error": self.error,
        }


def read_conversation(turns: Turns) -> tuple[dict[str, str], ...]:
    """The turns as plain values, ending with what the user asks now.

    Why no system turns: the system prompt is a setting; a turn that claims to be one is somebody's trick.
    Raises: UserError.
    """
    read = []
    for turn in turns:
        role, content = (
            (turn.get("role"), turn.get("content"))
            if isinstance(turn, Mapping)
            else (turn.role, turn.content)
        )
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise UserError(
                f"chat: a turn is a text by the user or the assistant (got role {str(role)[:20]!r}); "
                "a system prompt belongs into the settings"
            )
        read.append({"role": str(role), "content": content})
    if not read or read[-1]["role"] != "user" or not read[-1]["content"].strip():
        raise UserError("chat: there is no message to answer; write one")
    if len(read) > _MOST_TURNS:
        raise UserError(
            f"chat: the conversation is too long (got {len(read)} turns, at most {_MOST_TURNS}); "
            "start a new one"
        )
    longest = max(len(turn["content"]) for turn in read)
    if longest > _LONGEST_MESSAGE:
        raise UserError(
            f"chat: a message is too long (got {longest} characters, at most {_LONGEST_MESSAGE}); shorten it"
        )
    return tuple(read)

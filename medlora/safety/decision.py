"""What an assessment found and decided: plain values, the same for the page, the CLI and the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from medlora.safety.levels import Action, Level


class TurnLike(Protocol):
    """Anything with a role and a text."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


@dataclass(frozen=True)
class Finding:
    """One sign, and where it was seen.

    `span` counts characters of that turn's original text; `level` is what is left of the concept's level
    after its context; `dropped` findings are kept for the audit alone.
    """

    concept: str
    level: Level
    span: tuple[int, int]
    text: str
    context: tuple[str, ...]
    source: str
    turn: int
    sign: str = ""
    dropped: bool = False

    def as_dict(self, *, with_text: bool = True) -> dict[str, Any]:
        """The finding as the CLI prints it; without its text for the audit."""
        shown: dict[str, Any] = {
            "concept": self.concept,
            "level": self.level.label,
            "span": list(self.span),
            "context": list(self.context),
            "source": self.source,
            "turn": self.turn,
        }
        if with_text:
            shown["text"] = self.text
        return shown


@dataclass(frozen=True)
class Decision:
    """The outcome for the last user turn.

    `message` is the fixed text to show: instead of an answer for defer and block, beside it for annotate.
    """

    level: Level
    action: Action
    findings: tuple[Finding, ...]
    message: str | None
    message_key: str | None
    catalogue_version: str
    latency_ms: float
    register: str = "lay"
    dropped: tuple[Finding, ...] = ()

    @property
    def calls_model(self) -> bool:
        return self.action.calls_model

    def as_dict(self) -> dict[str, Any]:
        """The decision as `safety screen` prints it."""
        return {
            "level": self.level.label,
            "action": self.action.value,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def read_turns(turns: Sequence[TurnLike | Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(role, text) of each turn, whatever shape it came in."""
    read: list[tuple[str, str]] = []
    for turn in turns:
        if isinstance(turn, Mapping):
            read.append((str(turn["role"]), str(turn["content"])))
        else:
            read.append((turn.role, turn.content))
    return read

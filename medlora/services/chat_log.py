"""A conversation as it was shown: its turns with all that stands under them, as memory and file keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from uuid import uuid4

from medlora.feedback.records import Answer
from medlora.services.chat_turn import ChatSettings, ChatUpdate, TraceLine

BASE, ADAPTER, SERVED = "base:", "adapter:", "served:"
"""How a speaker is written: what it is, then its name."""

_FIGURES = (
    "level", "action", "base_model", "adapter", "weights", "server", "tokens", "seconds_to_first_token",
    "tokens_per_second", "truncated", "stopped", "withheld", "error",
)  # fmt: skip
_LISTS = ("notes", "notices")


@dataclass(frozen=True)
class Line:
    """One turn; for an answer also how it came about.

    fixed: the level of a fixed text that stands where a model's answer would; empty for words of a model.
    answer: what a rating of it would keep. speaker: whom the page had asked. sides: where several were asked
    at once, the answer of each; then the words are those of the first.
    """

    role: str
    content: str
    update: ChatUpdate | None = None
    fixed: str = ""
    answer: Answer | None = None
    speaker: str = ""
    sides: tuple[Line, ...] = ()

    @property
    def answers(self) -> list[Answer]:
        """What can be rated in it."""
        return [side.answer for side in self.sides or (self,) if side.answer is not None]


@dataclass(frozen=True)
class Conversation:
    """A conversation of one browser: its id, and its turns. kept: it was written into the history once."""

    chat_id: str = field(default_factory=lambda: uuid4().hex)
    lines: tuple[Line, ...] = ()
    kept: bool = False

    def add(self, role: str, content: str, **more: Any) -> Conversation:
        return self.append(Line(role, content, **more))

    def append(self, line: Line) -> Conversation:
        return replace(self, lines=(*self.lines, line))

    def turns(self, speaker: str = "") -> list[dict[str, str]]:
        """What the services are shown: roles and words; of several answers this speaker's own."""
        return [{"role": line.role, "content": _heard_by(line, speaker).content} for line in self.lines]

    @property
    def speakers(self) -> tuple[str, ...]:
        """Who was asked last."""
        for line in reversed(self.lines):
            asked = tuple(side.speaker for side in line.sides) or (line.speaker,)
            if any(asked):
                return asked
        return ()


def speaker_of(settings: ChatSettings) -> str:
    """Who these settings ask, as a line of the log names it."""
    if settings.server is not None:
        return SERVED + settings.base_model
    return ADAPTER + settings.adapter if settings.adapter is not None else BASE + settings.base_model


def answer_line(update: ChatUpdate, answer: Answer | None, speaker: str = "") -> Line:
    """An answer that has ended."""
    fixed = update.level if update.action in ("defer", "block") else ""
    return Line("assistant", update.text, update, fixed, answer, speaker)


def side_by_side(sides: Sequence[Line]) -> Line:
    """The answers of several who were asked at once."""
    return replace(sides[0], sides=tuple(sides)) if len(sides) > 1 else sides[0]


def _heard_by(line: Line, speaker: str) -> Line:
    return next((side for side in line.sides if side.speaker == speaker), line)


# As plain values
def line_details(line: Line) -> dict[str, Any]:
    """All of a line but its role and words."""
    details: dict[str, Any] = {"fixed": line.fixed, "speaker": line.speaker}
    if line.update is not None:
        update = {name: getattr(line.update, name) for name in _FIGURES}
        update |= {name: list(getattr(line.update, name)) for name in _LISTS}
        details["update"] = {**update, "trace": [asdict(reason) for reason in line.update.trace]}
    if line.answer is not None:
        details["answer"] = {
            each.name: getattr(line.answer, each.name)
            for each in fields(Answer)
            if each.name not in ("turns", "text")
        }
    if line.sides:
        details["sides"] = [{"content": side.content, **line_details(side)} for side in line.sides]
    return details


def read_line(
    role: str, content: str, details: Mapping[str, Any], before: Sequence[Line], speaker: str | None = None
) -> Line:
    """The line again; `before` are the lines that lead to it, which a rating of it would keep."""
    own = str(details.get("speaker", "")) if speaker is None else speaker
    update = details.get("update")
    sides = tuple(read_line(role, str(side["content"]), side, before) for side in details.get("sides", ()))
    return Line(
        role,
        content,
        _read_update(update, content) if isinstance(update, Mapping) else None,
        str(details.get("fixed", "")),
        _read_answer(details.get("answer"), content, Conversation("", tuple(before)).turns(own)),
        own,
        sides,
    )


def _read_update(kept: Mapping[str, Any], text: str) -> ChatUpdate:
    """Only what this version knows of: a file may be older or newer than it."""
    values: dict[str, Any] = {name: kept[name] for name in _FIGURES if name in kept}
    values |= {name: tuple(kept.get(name, ())) for name in _LISTS}
    reasons = [{**reason, "context": tuple(reason["context"])} for reason in kept.get("trace", ())]
    return ChatUpdate(text=text, done=True, trace=tuple(TraceLine(**reason) for reason in reasons), **values)


def _read_answer(kept: object, text: str, turns: Sequence[Mapping[str, str]]) -> Answer | None:
    if not isinstance(kept, Mapping):
        return None
    known = {each.name for each in fields(Answer)} - {"turns", "text"}
    return Answer(turns=tuple(turns), text=text, **{name: kept[name] for name in known if name in kept})

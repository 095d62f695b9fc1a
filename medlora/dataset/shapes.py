"""The shapes a record may have, recognised without asking.

| shape | fields |
|---|---|
| `instruction/response` | also `prompt/completion`, `question/answer`, and any pairing of these |
| `instruction/input/output` | Alpaca; `input` may be missing or empty |
| `messages` | a list of `role`, `content`: an optional system turn, then user and assistant in turn |
| `conversations` | ShareGPT: a list of `from` (human, gpt, system), `value` |

Outside `messages`, a `system` field is the system prompt. All other fields are kept and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_QUESTIONS = ("instruction", "prompt", "question", "input")
_ANSWERS = ("response", "output", "completion", "answer")
_LISTS = ("messages", "conversations", "conversation")
_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
KNOWN_SHAPES = (
    "instruction/response, instruction/input/output, prompt/completion, question/answer, messages, "
    "conversations"
)
# Tab, line feed and carriage return are text; the other control characters never are.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; the role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One usable line: the conversation to learn from."""

    messages: tuple[Turn, ...]
    line: int


class RecordError(Exception):
    """What is wrong with a record. Its message names fields, roles and positions, never a text."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


def recognise(obj: Mapping[str, Any], line: int = 0) -> tuple[str, Record]:
    """The record's shape and its conversation.

    Raises: RecordError.
    """
    fields = {key.strip().casefold(): key for key in obj}
    for name in _LISTS:
        if name in fields and isinstance(obj[fields[name]], list):
            shape = "messages" if name == "messages" else "conversations"
            turns = _read_turns(obj[fields[name]], fields[name], _system_field(obj, fields))
            return shape, Record(turns, line)
    question, answer = _first(fields, _QUESTIONS), _first(fields, _ANSWERS)
    if question is not None and answer is not None:
        return _read_pair(obj, fields, (question, answer), line)
    raise _explain_unknown(obj, fields, question, answer)


def _first(fields: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields), None)


def _read_pair(
    obj: Mapping[str, Any], fields: Mapping[str, str], names: tuple[str, str], line: int
) -> tuple[str, Record]:
    question, answer = names
    key_q, key_a = fields[question], fields[answer]
    if isinstance(obj[key_q], list) and isinstance(obj[key_a], list):
        turns = _read_turns([*obj[key_q], *obj[key_a]], f"{key_q}+{key_a}", None)
        return f"{question}/{answer}", Record(turns, line)
    asked = _read_text(obj[key_q], key_q, "question")
    if question == "instruction" and "input" in fields and obj[fields["input"]] not in (None, ""):
        context = _read_text(obj[fields["input"]], fields["input"], "question", may_be_empty=True)
        asked = f"{asked}\n\n{context}" if context else asked
    said = _read_text(obj[key_a], key_a, "answer")
    system = _system_field(obj, fields)
    turns = (*((Turn("system", system),) if system else ()), Turn("user", asked), Turn("assistant", said))
    alpaca = question == "instruction" and answer == "output"
    return "instruction/input/output" if alpaca else f"{question}/{answer}", Record(turns, line)


def _system_field(obj: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    value = obj[fields["system"]] if "system" in fields else None
    return (
        _read_text(value, fields["system"], "system", may_be_empty=True) if isinstance(value, str) else None
    )


def _read_text(value: Any, place: str, what: str, *, may_be_empty: bool = False) -> str:
    """The text of one field without the white space around it."""
    name = place_name(place)
    if value is None and not may_be_empty:
        raise RecordError(
            f"empty_{what}", f"{name}: the {what} is missing (got null); write one or remove the line"
        )
    if isinstance(value, list):
        value = _join_parts(value, name)
    if not isinstance(value, str):
        raise RecordError("not_text", f"{name}: must be text (got {kind_of(value)}); put it in quotes")
    check_characters(value, name)
    text = value.strip()
    if not text and not may_be_empty:
        raise RecordError(f"empty_{what}", f"{name}: the {what} is empty; write one or remove the line")
    return text


def _join_parts(parts: list[Any], name: str) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(parts) or not texts or not all(isinstance(text, str) for text in texts):
        raise RecordError("not_text", f"{name}: must be text (got a list); only text can be trained on")
    return "\n".join(str(text) for text in texts)


def check_characters(text: str, name: str) -> None:
    """Raises: RecordError for characters that no text should hold."""
    if found := _CONTROL.search(text):
        what = "NUL" if found[0] == "\0" else "control"
        raise RecordError(
            "control_character",
            f"{name}: holds the {what} character U+{ord(found[0]):04X} at position "
            f"{found.start() + 1}; remove it",
        )
    if found := _SURROGATE.search(text):
        raise RecordError(
            "lone_surrogate",
            f"{name}: holds half a character (lone surrogate U+{ord(found[0]):04X}) at position "
            f"{found.start() + 1}; export the text again as UTF-8",
        )


def _read_turns(items: list[Any], place: str, system: str | None) -> tuple[Turn, ...]:
    name = place_name(place)
    if not items:
        raise RecordError(
            "empty_question", f"{name}: the list is empty; a conversation has a question and an answer"
        )
    turns = [_read_turn(item, f"{name}[{index}]") for index, item in enumerate(items)]
    if system and turns[0].role != "system":
        turns.insert(0, Turn("system", system))
    if turns[0].role == "system" and not turns[0].content:
        del turns[0]
    _check_order(turns, name)
    return tuple(turns)


def _read_turn(item: Any, place: str) -> Turn:
    if not isinstance(item, dict):
        raise RecordError(
            "wrong_turn", f"{place}: a turn must be an object with role and content (got {kind_of(item)})"
        )
    role_key = "role" if "role" in item else "from"
    text_key = "content" if "content" in item else "value"
    if role_key not in item or text_key not in item:
        raise RecordError(
            "wrong_turn", f"{place}: a turn needs role and content, or from and value (got {_names(item)})"
        )
    said = item[role_key]
    role = _ROLES.get(said.strip().casefold()) if isinstance(said, str) else None
    if role is None:
        shown = repr(said) if isinstance(said, str) and re.fullmatch(r"\w{1,20}", said) else kind_of(said)
        raise RecordError(
            "wrong_role", f"{place}.{role_key}: the role must be system, user or assistant (got {shown})"
        )
    what = {"user": "question", "assistant": "answer", "system": "system"}[role]
    content = _read_text(item[text_key], f"{place}.{text_key}", what, may_be_empty=role == "system")
    return Turn(role, content)


def _check_order(turns: list[Turn], name: str) -> None:
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    for index, turn in enumerate(spoken):
        due = "assistant" if index % 2 else "user"
        if turn.role != due:
            place = index + len(turns) - len(spoken) + 1
            raise RecordError(
                "wrong_order",
                f"{name}: turn {place} must be {due} (got {turn.role}); after an optional system turn, "
                "user and assistant take turns",
            )
    if not spoken or spoken[-1].role != "assistant":
        raise RecordError(
            "wrong_order", f"{name}: the last turn must be assistant; nothing can be learned from a question"
        )


def _explain_unknown(
    obj: Mapping[str, Any], fields: Mapping[str, str], question: str | None, answer: str | None
) -> RecordError:
    if (name := _first(fields, _LISTS)) is not None:
        got = kind_of(obj[fields[name]])
        return RecordError("not_text", f"{name}: must be a list of turns (got {got})")
    if question is not None:
        return RecordError(
            "missing_answer",
            f"{place_name(fields[question])}: has no answer beside it (fields: {_names(obj)}); "
            "add one of response, output, completion, answer",
        )
    if answer is not None:
        return RecordError(
            "missing_question",
            f"{place_name(fields[answer])}: has no question beside it (fields: {_names(obj)}); "
            "add one of instruction, prompt, question",
        )
    return RecordError(
        "unknown_shape", f"the fields {_names(obj)} are no shape that is known; known: {KNOWN_SHAPES}"
    )


def _names(obj: Mapping[str, Any]) -> str:
    """Field names for a message: those that look like names; anything else might be a text."""
    shown = [place_name(key) for key in list(obj)[:8]]
    more = f" and {len(obj) - 8} more" if len(obj) > 8 else ""
    return (", ".join(shown) or "none") + more


def place_name(key: str) -> str:
    """A field's name for a message, if it is one word; a key may also be a stray text, which stays out."""
    if re.fullmatch(r"[\w.+\[\]-]{1,40}", key):
        return key
    words = len(key.split())
    return f"(a name of {words} words)" if words > 1 else "(an odd name)"


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def with_system_prompt(messages: Sequence[Turn], prompt: str | None) -> tuple[Turn, ...]:
    """The conversation with a system prompt in front, unless it brings its own or there is none to add."""
    if not prompt or not prompt.strip() or (messages and messages[0].role == "system"):
        return tuple(messages)
    return (Turn("system", prompt.strip()), *messages)

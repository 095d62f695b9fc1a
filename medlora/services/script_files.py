"""Test scripts as files: prompts to read in, and scripts to share, with their answers if wanted.

One JSON object a line. Prompts: `prompt` (or question, instruction, message, or `messages` with one user
turn), and `expect` for the rater. A shared script begins with a line that says what it is; each prompt may
carry `answers`. What a file brings as a model's answer passes the output rules before anyone sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import DataError, UserError
from medlora.feedback import scripts
from medlora.feedback.records import Answer
from medlora.feedback.scripts import Answers, Prompt, Script, Seat
from medlora.safety.assessment import assess
from medlora.safety.policy import Policy
from medlora.safety.stream import StreamGuard
from medlora.services import feedback
from medlora.services.feedback_data import write_harvest
from medlora.workspace import Workspace

FORMAT = "medlora_script"
MOST_PROMPTS, LONGEST_PROMPT, LARGEST_FILE = 2000, 8000, 20 * 2**20
_NAMES = ("prompt", "question", "instruction", "message")
_ANSWER_FIELDS = ("text", "base_model", "adapter", "weights", "level", "action", "system_prompt", "catalogue")


def read_prompts(text: str) -> tuple[Prompt, ...]:
    """Prompts from what somebody typed or a file holds: one a line, as text or as JSON.

    Raises: DataError with the line's number; UserError for none, too many or too long ones.
    """
    return check_prompts([_prompt(line, number) for number, line in _lines(text)])


def check_prompts(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Raises: UserError for none, too many or too long ones."""
    if not prompts:
        raise UserError("script: there are no prompts; write one a line, or choose a file")
    if len(prompts) > MOST_PROMPTS:
        raise UserError(f"script: there are too many prompts (got {len(prompts)}, at most {MOST_PROMPTS})")
    for number, prompt in enumerate(prompts, 1):
        longest = max(len(prompt.text), len(prompt.expect))
        if longest > LONGEST_PROMPT:
            raise UserError(
                f"script: prompt {number} is too long (got {longest} characters, at most {LONGEST_PROMPT}); "
                "shorten it"
            )
    return tuple(prompts)


def _lines(text: str) -> list[tuple[int, str]]:
    numbered = enumerate(text.removeprefix("\ufeff").splitlines(), 1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def _prompt(line: str, number: int) -> Prompt:
    if not line.startswith("{"):
        return Prompt(line)
    return _prompt_of(_object(line, number), number)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"line {number}: it is no JSON object; mend it or write plain text") from None
    if not isinstance(value, dict):
        raise DataError(f"line {number}: it is no JSON object; mend it or write plain text")
    return value


def _prompt_of(value: Mapping[str, Any], number: int) -> Prompt:
    said = next((value[name] for name in _NAMES if name in value), None)
    if said is None and isinstance(value.get("messages"), list):
        spoken = [turn for turn in value["messages"] if isinstance(turn, dict) and turn.get("role") == "user"]
        said = spoken[0].get("content") if len(spoken) == 1 else None
    if not isinstance(said, str) or not said.strip():
        raise DataError(f"line {number}: prompt: it must be a text (one of {', '.join(_NAMES)})")
    expect = value.get("expect", "")
    if not isinstance(expect, str):
        raise DataError(f"line {number}: expect: it must be a text")
    return Prompt(said.strip(), expect.strip())


# Share
def export_script(ws: Workspace, script: Script, target: Path, *, with_answers: bool) -> Path:
    """Write a script into a new file that its owner alone can read.

    Raises: UserError when the file exists.
    """
    answers = scripts.read_answers(ws, script) if with_answers else {}
    seats = [_export_seat(seat) for seat in script.seats]
    rows: list[dict[str, Any]] = [{FORMAT: 1, "name": script.name, "seats": seats}]
    for position, prompt in enumerate(script.prompts):
        row: dict[str, Any] = {"prompt": prompt.text}
        if prompt.expect:
            row["expect"] = prompt.expect
        if position in answers:
            row["answers"] = [_export_answer(answer) for answer in answers[position]]
        rows.append(row)
    return write_harvest(rows, target)


def _export_seat(seat: Seat) -> dict[str, Any]:
    served = {"server": seat.server} if seat.server else {}
    return {"adapter": seat.adapter, "base_model": seat.base_model, **served}


def _export_answer(answer: Answer) -> dict[str, Any]:
    return {**{name: getattr(answer, name) for name in _ANSWER_FIELDS}, "whole": answer.whole}


@dataclass(frozen=True)
class _Shared:
    """A file's content."""

    name: str
    seats: tuple[Seat, ...]
    prompts: tuple[Prompt, ...]
    answers: Answers


def import_script(ws: Workspace, path: Path, seats: Sequence[Seat] = (), name: str = "") -> Script:
    """A script that somebody shared; without answers it may be put to other speakers than its own.

    Raises: DataError, UserError for a file that is none.
    """
    text = read_text(path)
    if not is_shared(text):
        raise UserError(f"{path.name}: it is no shared script; its prompts can be read into a new one")
    shared = _read_shared(text)
    asked = shared.seats if shared.answers or not seats else tuple(seats)
    return scripts.save_script(ws, Script(name or shared.name, shared.prompts, asked), shared.answers)


def is_shared(text: str) -> bool:
    """Whether a file's text is a script that was shared, not just prompts."""
    first = next(iter(_lines(text)), (0, ""))
    return first[1].startswith("{") and f'"{FORMAT}"' in first[1]


def read_text(path: Path) -> str:
    """Raises: UserError for a file that is too large, is gone, or is not UTF-8."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path.name}: it is too large (at most {LARGEST_FILE >> 20} MiB)")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path.name}: it is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path.name}: it cannot be read ({error.strerror})") from None


def _read_shared(text: str) -> _Shared:
    (head_number, head_line), *rows = _lines(text)
    head = _object(head_line, head_number)
    if head.get(FORMAT) != 1:
        raise DataError(
            f"line 1: {FORMAT}: only version 1 is known (got {head.get(FORMAT)!r}); update medlora"
        )
    seats = _read_seats(head.get("seats"))
    prompts, answers = [], {}
    for position, (number, line) in enumerate(rows):
        row = _object(line, number)
        prompts.append(_prompt_of(row, number))
        if row.get("answers"):
            answers[position] = _read_answers(row["answers"], prompts[-1], len(seats), number)
    name = feedback.clean_name(str(head.get("name") or "")) or "Test script"
    return _Shared(name, seats, check_prompts(prompts), answers)


def _read_seats(value: Any) -> tuple[Seat, ...]:
    seats = value if isinstance(value, list) else []
    read = []
    for seat in seats:
        fields: dict[str, Any] = seat if isinstance(seat, dict) else {}
        adapter, base, server = fields.get("adapter"), fields.get("base_model"), fields.get("server", "")
        named = adapter is None or isinstance(adapter, str)
        if not (named and isinstance(base, str) and isinstance(server, str)):
            raise DataError("line 1: seats: each is an object with adapter (a name or null) and base_model")
        read.append(Seat(adapter, base, server))
    if not read or len(read) > 4:
        raise DataError(f"line 1: seats: there must be 1 to 4 (got {len(read)})")
    return tuple(read)


def _read_answers(value: Any, prompt: Prompt, amount: int, number: int) -> tuple[Answer, ...]:
    if not isinstance(value, list) or len(value) != amount:
        raise DataError(f"line {number}: answers: there must be one for each of the {amount} speakers")
    return tuple(_read_answer(answer, prompt, number) for answer in value)


def _read_answer(value: Any, prompt: Prompt, number: int) -> Answer:
    fields = value if isinstance(value, dict) else {}
    texts: dict[str, Any] = {name: fields.get(name) for name in _ANSWER_FIELDS}
    for name in ("adapter", "weights"):
        if texts[name] is None:
            del texts[name]
    if not all(isinstance(text, str) and len(text) <= 64_000 for text in texts.values()):
        raise DataError(f"line {number}: answers: each is an object with {', '.join(_ANSWER_FIELDS)}")
    turns = ({"role": "user", "content": prompt.text},)
    whole = fields.get("whole") is not False
    return judge_answer(Answer(turns, whole=whole, settings={"shared": True}, **texts))


def judge_answer(answer: Answer) -> Answer:
    """An answer that came from outside, as the output rules let it through.

    Why: a file could hold anything, and what a rater sees must have been judged here.
    """
    policy = Policy(system_prompt=answer.system_prompt)
    guard = StreamGuard(policy, assess(answer.turns, policy))
    shown = guard.feed(answer.text)
    result = guard.finish()
    if result.verdict in ("released", "annotated"):
        return answer
    text = f"{shown}{result.text}\n\n{result.replacement or ''}".strip()
    return Answer(
        answer.turns, text, answer.base_model, answer.adapter, answer.weights, answer.level, "block",
        answer.system_prompt, answer.settings, answer.catalogue, answer.whole,
    )  # fmt: skip

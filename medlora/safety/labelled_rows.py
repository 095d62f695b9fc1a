"""Labelled messages as they stand in a JSONL file: one object a line, with a label or without."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medlora.errors import UserError
from medlora.safety.levels import Level
from medlora.safety.score import Labelled
from medlora.safety.slips import with_slips

MAX_LINE_CHARS = 2_000_000
_DEFERRED = {"defer", "emergency", "crisis"}
_ANSWERED = {"answer", "none", "benign", "safe"}


def read_labelled(
    path: Path, *, only: Mapping[str, str] | None = None, slips: int = 0
) -> Iterator[tuple[Labelled, bool]]:
    """Each message of a labelled file, and whether it carries a label.

    only: fields a row must have, such as {"voice": "clinician"}. slips: typing slips to put into each turn.
    Raises: UserError with the line for a file or a line that cannot be read.
    """
    try:
        file = path.open(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path.name}: the file cannot be read ({error.strerror}); choose another") from error
    with file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = read_row(line, path.name, number)
                    if all(str(row.get(key)) == value for key, value in (only or {}).items()):
                        yield _read_labelled_row(row, path.name, number, slips)
        except UnicodeDecodeError as error:
            raise UserError(f"{path.name}: the file is not UTF-8 text; save it as UTF-8 JSONL") from error


def _read_labelled_row(row: Mapping[str, Any], name: str, number: int, slips: int) -> tuple[Labelled, bool]:
    label, level = row.get("label"), row.get("level")
    turns = tuple(read_message(row, name, number))
    if slips:
        turns = tuple({**turn, "content": with_slips(turn["content"], slips)} for turn in turns)
    identity = str(row.get("id", number))
    concept, voice, context = (str(row.get(key) or "") for key in ("concept", "voice", "context"))
    for word in (level, label):
        if word is not None and word not in _DEFERRED | _ANSWERED | {"caution"}:
            raise UserError(
                f"{name}:{number}: level: there is no such level (got {word!r}); "
                "use answer, caution, defer, emergency or crisis"
            )
    if label == "caution" or (label is None and level == "caution"):
        return Labelled(identity, turns, None, concept, number, voice, context), True
    if level in _DEFERRED:
        return Labelled(identity, turns, Level.parse(str(level)), concept, number, voice, context), True
    if label in _DEFERRED:
        return Labelled(identity, turns, Level.parse(str(label)), concept, number, voice, context), True
    labelled = label is not None or level is not None
    return Labelled(identity, turns, Level.ANSWER, concept, number, voice, context), labelled


def read_row(line: str, name: str, number: int) -> dict[str, Any]:
    """One line as an object.

    Raises: UserError with the line's number.
    """
    if len(line) > MAX_LINE_CHARS:
        raise UserError(
            f"{name}:{number}: the line is too long (got {len(line)} characters); split the message"
        )
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}:{number}: this is not JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise UserError(
            f"{name}:{number}: this is not an object (got {type(row).__name__}); write one a line"
        )
    return row


def read_message(row: Mapping[str, Any], name: str, number: int) -> list[Mapping[str, Any]]:
    """The turns of a row.

    Raises: UserError with the line's number for a row without a message.
    """
    turns = row.get("turns")
    if turns is None and isinstance(row.get("text"), str):
        return [{"role": "user", "content": row["text"]}]
    whole = isinstance(turns, list) and turns and all(_is_turn(turn) for turn in turns)
    if not whole:
        raise UserError(
            f"{name}:{number}: there is no message; write `text`, or `turns` with role and content"
        )
    return list(turns or ())


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
    )

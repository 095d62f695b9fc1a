"""One line of bytes to one JSON object, stricter than Python's parser.

Why: the parser takes NaN, keeps the last of two equal keys, turns 1e999 into infinity, and overflows the
stack on a thousand brackets; each of these has trained a model on something nobody wrote.
Messages name positions and field names, never a text.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from medlora.dataset.lines import RawLine
from medlora.dataset.shapes import RecordError, kind_of, place_name

MAX_DEPTH = 32
_MAX_INTEGER = 1 << 63
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def parse_line(line: RawLine) -> dict[str, Any]:
    """The object on a line.

    Raises: RecordError with a kind and a message.
    """
    text = _decode(line.data)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_read_integer,
            parse_float=_read_float,
        )
    except json.JSONDecodeError as error:
        raise _explain(error, text, line.ended) from None
    if isinstance(value, list):
        raise RecordError(
            "json_array",
            "a JSON array; write one object per line, without the brackets and commas around them",
        )
    if not isinstance(value, dict):
        raise RecordError("not_object", f"must be a JSON object in braces (got {kind_of(value)})")
    return value


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        position, byte = error.start + 1, data[error.start]
        if data.count(0) > len(data) // 4:
            guess = "looks like UTF-16"
        elif data[error.start : error.start + 1] in (b"\xed", b"\xc0", b"\xc1"):
            guess = "is damaged"
        else:
            guess = "looks like Latin-1 (Windows-1252)"
        raise RecordError(
            "not_utf8", f"not UTF-8: byte 0x{byte:02X} at position {position} {guess}; save the file as UTF-8"
        ) from None


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub('""', text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise RecordError("too_deep", f"nested more than {MAX_DEPTH} levels deep; a record is flat")


def _explain(error: json.JSONDecodeError, text: str, ended: bool) -> RecordError:
    end = len(text.rstrip())
    if not ended and (error.msg.startswith("Unterminated string") or error.pos >= end - 6):
        return RecordError(
            "torn_line",
            f"the file ends in the middle of a record (character {end}); export it again or remove the line",
        )
    if error.msg.startswith("Invalid control character"):
        return RecordError(
            "control_character",
            f"not valid JSON at character {error.pos + 1}: a raw control character in a text; "
            "write \\n or \\t",
        )
    if "\r" in text:
        return RecordError(
            "invalid_json",
            "lines must end with LF or CR LF (got CR alone); save the file with other line endings",
        )
    hint = ""
    if not text.lstrip().startswith("{"):
        hint = "; a record is one JSON object in braces on one line"
    elif error.msg == "Extra data":
        hint = "; one line holds one record"
    elif "double quotes" in error.msg:
        hint = "; JSON uses double quotes and no comma before a closing brace"
    return RecordError("invalid_json", f"not valid JSON at character {error.pos + 1}: {error.msg}{hint}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    obj = dict(pairs)
    if len(obj) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise RecordError(
            "duplicate_key", f"{place_name(twice)}: the field stands twice in one object; keep one"
        )
    return obj


def _refuse_constant(name: str) -> NoReturn:
    raise RecordError("not_finite", f"{name} is not JSON; use a number or null")


def _read_integer(digits: str) -> int:
    if len(digits) > 20 or not -_MAX_INTEGER <= int(digits) < 2 * _MAX_INTEGER:
        raise RecordError(
            "huge_number", f"a whole number of {len(digits.lstrip('-'))} digits; put it in quotes"
        )
    return int(digits)


def _read_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise RecordError("huge_number", "a number too large for any computer; put it in quotes")
    return value

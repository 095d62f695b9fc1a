"""Plain YAML words to values and back, by the rules of YAML 1.2.

Why: the 1.1 rules that most Python readers follow turn `1e-4` into text, `no` into false, `012` into 10
and `12:30:45` into 45045.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_SAFE_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+-]+)*")
_OLD_SWITCHES = {"yes", "no", "on", "off", "y", "n"}
_LONGEST_NUMBER = 400


def read_scalar(text: str) -> Any:
    """The value of an unquoted word: null, a switch, a number or the text itself.

    Source: YAML 1.2.2, section 10.3.2 (core schema); leading zeros do not mean octal there.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    infinite = _INFINITE.fullmatch(text)
    return math.copysign(math.inf, -1 if infinite[1] == "-" else 1) if infinite else text


def write_scalar(value: Any) -> str:
    """One value on one line of YAML, quoted only where it must be; lists in brackets.

    Numbers keep a dot (`1.0e-4`), so that older readers take them for numbers too.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _write_float(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_scalar(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write_scalar(k)}: {write_scalar(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, int) else _write_text(str(value))


def _write_float(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    shortest = repr(value)
    if "e" not in shortest and (abs(value) >= 1e-3 or value == 0):
        return shortest
    mantissa, _, exponent = (shortest if "e" in shortest else _scientific(value)).partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}e{int(exponent):+d}"


def _scientific(value: float) -> str:
    """The shortest scientific form that reads back as the same number."""
    return next(text for digits in range(18) if float(text := f"{value:.{digits}e}") == value)


def _write_text(value: str) -> str:
    older = value.lower() in _OLD_SWITCHES or ":" in value
    if _SAFE_PLAIN.fullmatch(value) and isinstance(read_scalar(value), str) and not older:
        return value
    return json.dumps(value, ensure_ascii=False)

"""A first scan for what identifies a patient: patterns with context and checksums.

Covered: phone and fax numbers, e-mail, record, account and national numbers, dates of birth and of care, ages
over 89, addresses, personal web addresses, IP and MAC addresses, device and vehicle numbers, and names that a
title, "patient", a family word, an age, a date of birth or a signature gives away.
Not covered: a bare name in running text, places alone, free descriptions that only one person fits, scripts
other than Latin. So a clean report is no proof; it says where to look first.

Why public things pass: toll-free numbers, agencies' mailboxes and institutions' pages are what patient
education is full of, and a report that cries at each of them is not read.
Source: the identifiers of the HIPAA safe harbor list, 45 CFR 164.514(b)(2).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medlora.dataset.phi_people import PEOPLE_RULES
from medlora.dataset.phi_rule import Folded
from medlora.dataset.phi_rules import NUMBER_RULES

_SHOWN = 40
# In order of precedence: where two overlap, the earlier one stands.
_RULES = (*NUMBER_RULES, *PEOPLE_RULES)


@dataclass(frozen=True, slots=True)
class PhiSpan:
    """A place in a text, [start, end)."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class PhiFinding:
    """What was found, without saying it: letters and digits are masked."""

    line: int
    field: str
    kind: str
    masked: str


def find_phi(text: str) -> list[PhiSpan]:
    """The spans found in a text, in order, none overlapping another."""
    spans: list[PhiSpan] = []
    folded = Folded.of(text)
    for rule in _RULES:
        for start, end in rule.spans(folded):
            place = bisect_left(spans, end, key=lambda span: span.start)
            if place == 0 or spans[place - 1].end <= start:
                spans.insert(place, PhiSpan(start, end, rule.kind))
    return spans


def mask_text(text: str) -> str:
    """The form of a text without its content: `(###) ###-####`, `Xx. Xxxxx`."""
    shown = text[:_SHOWN]
    masked = "".join("#" if c.isdigit() else "X" if c.isupper() else "x" if c.isalnum() else c for c in shown)
    return " ".join(masked.split()) + ("…" if len(text) > _SHOWN else "")


def redact_text(text: str) -> str:
    """The text with every finding replaced by its kind in brackets."""
    pieces, position = [], 0
    for span in find_phi(text):
        pieces += [text[position : span.start], f"[{span.kind.upper()}]"]
        position = span.end
    return "".join([*pieces, text[position:]])


def redact_value(value: Any) -> Any:
    """A JSON value with every text in it redacted."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [redact_value(item) for item in value]
    if isinstance(value, dict):
        return {key: redact_value(item) for key, item in value.items()}
    return value


def scan_object(obj: Mapping[str, Any], line: int) -> Iterator[PhiFinding]:
    """Findings in every text of a record, fields that are not trained on included."""
    for field, text in _texts(obj, ""):
        for span in find_phi(text):
            yield PhiFinding(line, field, span.kind, mask_text(text[span.start : span.end]))


def _texts(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{field}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            name = key if re.fullmatch(r"\w{1,40}", key) else "field"
            yield from _texts(item, f"{field}.{name}" if field else name)

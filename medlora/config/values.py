"""Merged settings against the schema: gentle readings first, then one message per wrong value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from medlora.config.layers import Entry, Layer, show
from medlora.config.scalars import read_scalar, write_scalar
from medlora.config.schema import Config, SettingDoc, find_setting
from medlora.errors import Problem

_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True)
class Validated:
    """`config` is None when a value is wrong; `wrong` has the keys of those."""

    config: Config | None
    wrong: frozenset[str]


def validate_layer(merged: Layer) -> Validated:
    """The schema's verdict; problems are added to the layer."""
    for key, entry in list(merged.entries.items()):
        doc = find_setting(key)
        if doc:
            merged.entries[key] = _read_gently(merged, doc, entry)
    try:
        return Validated(Config.model_validate(nest(merged.entries)), frozenset())
    except ValidationError as error:
        wrong: dict[str, int | None] = {}
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            key, index = _locate(item["loc"])
            wrong.setdefault(key, index)
    merged.problems.extend(_wrong_value(key, merged.entries[key], index) for key, index in wrong.items())
    return Validated(None, frozenset(wrong))


def nest(entries: dict[str, Entry]) -> dict[str, Any]:
    """Flat dotted keys as the nested mapping that the schema reads."""
    tree: dict[str, Any] = {}
    for key, entry in entries.items():
        *path, leaf = key.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        at[leaf] = entry.value
    return tree


def _read_gently(merged: Layer, doc: SettingDoc, entry: Entry) -> Entry:
    """What can only be meant one way: numbers in quotes, 3.0 where 3 is wanted."""
    value = entry.value
    if entry.quoted and isinstance(value, str) and doc.kind in ("number", "whole number", "switch"):
        read = read_scalar(value.strip())
        if not isinstance(read, str) and read is not None:
            merged.say(entry, doc.key, f"in quotes, read as {show(read)}; take the quotes away", "notice")
            value = read
    if doc.kind == "whole number" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return replace(entry, value=value)


def _locate(loc: tuple[int | str, ...]) -> tuple[str, int | None]:
    """The dotted setting that a pydantic location lies in, and the list item if it names one."""
    for length in range(len(loc), 0, -1):
        key = ".".join(str(part) for part in loc[:length])
        if find_setting(key):
            return key, next((part for part in loc[length:] if isinstance(part, int)), None)
    return str(loc[0]), None


def _wrong_value(key: str, entry: Entry, index: int | None) -> Problem:
    doc = find_setting(key)
    value, where, line = entry.value, entry.where, entry.line
    if index is not None and isinstance(value, list) and index < len(value):
        value = value[index]
        if index < len(entry.item_marks):
            where, line = str(entry.item_marks[index]), entry.item_marks[index].line
        wanted = (
            ("a whole number", "correct it")
            if doc and "numbers" in doc.bounds
            else ("text", "put it in quotes")
        )
        message = f"item {index + 1} must be {wanted[0]} (got {show(value)}); {wanted[1]}"
    elif value is None:
        message = "has no value; write one, or delete the line to keep the default"
    else:
        message = (
            f"must be {doc.bounds if doc else 'different'} (got {show(value)}); {_advice(doc, entry, value)}"
        )
    return Problem(where, key, message, line=line)


def _advice(doc: SettingDoc | None, entry: Entry, value: Any) -> str:
    if doc is None:
        return "correct it"
    if doc.kind == "switch" and str(value).lower() in _SWITCHES:
        return f"write {_SWITCHES[str(value).lower()]}: `{value}` is text in today's YAML"
    if isinstance(value, str) and doc.kind in ("number", "whole number"):
        number = _meant_number(value)
        if number is not None:
            return f"write {number}"
    if doc.kind == "text" and isinstance(value, bool | int | float):
        return "put it in quotes"
    if isinstance(value, str) and doc.choices:
        close = [choice for choice in doc.choices if choice.lower() == value.strip().lower()]
        if close:
            return f"write {close[0]}"
    if entry.line is None:
        return f"for example {example_of(doc)}"
    return f"for example `{doc.key.rsplit('.', 1)[-1]}: {example_of(doc)}`"


def _meant_number(text: str) -> str | None:
    """1_000, 0,1 and 10 % as numbers, if that is what they are."""
    plain = text.strip().replace("_", "").replace(" ", "")
    percent = plain.endswith("%")
    number = read_scalar(plain.removesuffix("%").replace(",", "."))
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return write_scalar(number / 100) if percent else write_scalar(number)


def example_of(doc: SettingDoc) -> str:
    """A value that is right, as a file would write it."""
    if doc.example:
        return doc.example
    if doc.default is not None and doc.kind != "table":
        return write_scalar(doc.default)
    return {"whole number": "100", "switch": "true"}.get(doc.kind, '{key: "text"}')

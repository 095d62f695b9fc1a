"""One setting, one declaration: type, bounds, unit, help and the source of its default together.

Everything that speaks of a setting (error messages, the form's labels, the reference page) reads it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Kind = Literal["whole number", "number", "switch", "choice", "text", "list", "table", "other"]


class Section(BaseModel):
    """A group of settings: unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class SettingDoc:
    """All there is to know about one setting; `bounds` is the phrase after "must be"."""

    key: str
    title: str
    help: str
    unit: str
    default: Any
    bounds: str
    source: str
    choices: tuple[str, ...]
    kind: Kind
    optional: bool
    guidance: tuple[tuple[str, str], ...]
    example: str

    @property
    def section(self) -> str:
        return self.key.split(".", 1)[0]


def setting(default: Any, title: str, text: str, **more: Any) -> Any:
    """A pydantic field; `unit`, `source`, `guidance`, `example` and `bounds` are kept for `SettingDoc`.

    `guidance` pairs a value with what to expect of it, in the order in which a form offers them.
    """
    extra: dict[str, Any] = {
        name: more.pop(name) for name in ("unit", "source", "guidance", "example", "bounds") if name in more
    }
    if isinstance(default, list | dict):
        kept = default
        return Field(
            default_factory=lambda: type(kept)(kept),
            title=title,
            description=text,
            json_schema_extra=extra,
            **more,
        )
    return Field(default, title=title, description=text, json_schema_extra=extra, **more)


def describe_setting(key: str, info: FieldInfo) -> SettingDoc:
    """The documentation of one declared field."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    members = _members(info.annotation)
    kind, choices = _kind(members)
    guidance: Any = extra.get("guidance", ())
    return SettingDoc(
        key=key,
        title=info.title or key,
        help=info.description or "",
        unit=str(extra.get("unit", "")),
        default=info.get_default(call_default_factory=True),
        bounds=str(extra.get("bounds") or _bounds(kind, choices, info)),
        source=str(extra.get("source", "")),
        choices=choices,
        kind=kind,
        optional=type(None) in members,
        guidance=tuple((str(value), str(text)) for value, text in guidance),
        example=str(extra.get("example", "")),
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type: `int | None` gives (int, NoneType)."""
    if get_origin(annotation) is Literal or get_origin(annotation) in (list, dict):
        return (annotation,)
    return get_args(annotation) or (annotation,)


def _kind(members: tuple[Any, ...]) -> tuple[Kind, tuple[str, ...]]:
    literals = [member for member in members if get_origin(member) is Literal]
    choices = tuple(str(choice) for literal in literals for choice in get_args(literal))
    if bool in members:
        return "switch", choices
    if any(get_origin(member) is list for member in members):
        return "list", choices
    if any(get_origin(member) is dict for member in members):
        return "table", choices
    if literals:
        return "choice", choices
    plain: dict[Any, Kind] = {int: "whole number", float: "number", str: "text"}
    return next((plain[member] for member in members if member in plain), "other"), choices


def _bounds(kind: Kind, choices: tuple[str, ...], info: FieldInfo) -> str:
    if kind == "choice":
        return f"one of {', '.join(choices)}"
    if kind == "switch":
        return "true or false"
    if kind == "list":
        return "a list of names" + "".join(f", or {choice}" for choice in choices)
    longest = next((rule.max_length for rule in info.metadata if isinstance(rule, MaxLen)), None)
    if kind == "text":
        return "text" + (f" of at most {longest:,} characters" if longest else "")
    if kind == "table":
        return "a table of names and texts"
    return "a " + kind + _range(info)


def _range(info: FieldInfo) -> str:
    low = high = ""
    for rule in info.metadata:
        if isinstance(rule, Ge):
            low = f" of at least {rule.ge}"
        elif isinstance(rule, Gt):
            low = f" above {rule.gt}"
        elif isinstance(rule, Le):
            high = f"at most {rule.le}"
        elif isinstance(rule, Lt):
            high = f"below {rule.lt}"
    if low and high:
        return f"{low} and {high}"
    return low or (f" {'of ' if high.startswith('at') else ''}{high}" if high else "")

"""Strict YAML with positions: what it cannot mean two ways it reads, everything else it names.

Covered: duplicate keys, anchors, aliases, tags, merge keys, further documents, tabs, other syntax errors,
control characters, keys that are not plain words, nesting and size beyond any real configuration.
Not covered: what the keys mean; that is `layers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medlora.config.scalars import read_scalar
from medlora.errors import ConfigError, Problem

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12


@dataclass(frozen=True)
class Mark:
    """A place in a text; lines and columns count from 1."""

    name: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """One value and where it stands. `span` is its extent in the text, in characters."""

    mark: Mark
    span: tuple[int, int]


@dataclass(frozen=True)
class ScalarNode(Node):
    value: Any
    text: str
    style: str | None


@dataclass(frozen=True)
class ListNode(Node):
    items: list[Node]
    flow: bool


@dataclass(frozen=True)
class KeyNode(Node):
    name: str


@dataclass(frozen=True)
class TableNode(Node):
    entries: dict[str, tuple[KeyNode, Node]]
    flow: bool


@dataclass
class _Open:
    """A list or table whose end has not been read yet."""

    event: Any
    items: list[Node] = field(default_factory=list)


def parse_source(text: str, name: str) -> TableNode:
    """The mapping that the text holds.

    Raises: ConfigError with every problem found; a syntax error ends the reading.
    """
    _check_size(text, name)
    problems: list[Problem] = []
    root = _read(text.removeprefix("\ufeff"), name, problems)
    if problems:
        raise ConfigError(problems)
    if not isinstance(root, TableNode):
        line = root.mark.line if root else 1
        what = "there are no settings in it" if root is None else "the text is not a list of settings"
        raise ConfigError(
            [Problem(f"{name}:{line}:1", "", f"{what}; write lines such as `lora:`", line=line)]
        )
    return root


def read_text(path: Path, name: str) -> str:
    """A file's text, refused before it is read when it is too large.

    Raises: ConfigError if it cannot be read as UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        _check_length(len(data), name)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(name, "", f"not UTF-8 text at byte {error.start}; save it as UTF-8")]
        ) from error
    except OSError as error:
        raise ConfigError(
            [Problem(name, "", f"cannot be read ({error.strerror}); check the path")]
        ) from error


def _check_size(text: str, name: str) -> None:
    _check_length(len(text.encode("utf-8", "surrogatepass")), name)


def _check_length(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise ConfigError(
            [Problem(name, "", "larger than 64 KB; a configuration needs a few, so shorten it")]
        )


def _read(text: str, name: str, problems: list[Problem]) -> Node | None:
    """The first document's root; the problems are added to the list."""
    root: Node | None = None
    documents = 0
    stack: list[_Open] = []

    def report(event: Any, message: str) -> None:
        mark = _mark(event, name)
        problems.append(Problem(str(mark), "", message, line=mark.line))

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    report(
                        event, "a second document starts here; keep one configuration per file, without `---`"
                    )
                    break
            if not isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                continue
            _check_event(event, report)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(stack) >= MAX_DEPTH:
                    report(event, f"nested more than {MAX_DEPTH} levels deep; no setting needs that")
                    break
                stack.append(_Open(event))
                continue
            node = _close(stack.pop(), event, name, problems) if _ends(event) else _leaf(event, name)
            if stack:
                stack[-1].items.append(node)
            else:
                root = node
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, text, name))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"an invisible control character (code {error.character}); delete it"
        problems.append(Problem(f"{name}:{line}:1", "", message, line=line))
    return root


def _ends(event: Any) -> bool:
    return isinstance(event, yaml.CollectionEndEvent)


def _check_event(event: Any, report: Any) -> None:
    if isinstance(event, yaml.AliasEvent):
        report(event, f"an alias (got *{event.anchor}); write the value out")
        return
    if getattr(event, "anchor", None):
        report(event, f"an anchor (got &{event.anchor}); delete it, and write the value out where it is used")
    if getattr(event, "tag", None):
        report(event, f"a tag (got {event.tag}); delete it, and write the plain value")


def _mark(event: Any, name: str) -> Mark:
    return Mark(name, event.start_mark.line + 1, event.start_mark.column + 1)


def _leaf(event: Any, name: str) -> Node:
    span = (event.start_mark.index, event.end_mark.index)
    if isinstance(event, yaml.AliasEvent):
        return ScalarNode(_mark(event, name), span, None, "", None)
    value = read_scalar(event.value) if event.style is None else event.value
    return ScalarNode(_mark(event, name), span, value, event.value, event.style)


def _close(opened: _Open, end: Any, name: str, problems: list[Problem]) -> Node:
    start, mark = opened.event, _mark(opened.event, name)
    span = (start.start_mark.index, end.end_mark.index)
    if isinstance(start, yaml.SequenceStartEvent):
        return ListNode(mark, span, opened.items, bool(start.flow_style))
    entries: dict[str, tuple[KeyNode, Node]] = {}
    for key, value in zip(opened.items[::2], opened.items[1::2], strict=True):
        if not isinstance(key, ScalarNode):
            message = "a key must be a plain word, not a list or a table"
            problems.append(Problem(str(key.mark), "", message, line=key.mark.line))
        elif key.text in entries:
            first = entries[key.text][0].mark.line
            message = f"set twice, here and in line {first}; keep one of the two"
            problems.append(Problem(str(key.mark), key.text, message, line=key.mark.line))
        else:
            entries[key.text] = (KeyNode(key.mark, key.span, key.text), value)
    return TableNode(mark, span, entries, bool(start.flow_style))


_HINTS = (
    (
        "cannot start any token",
        "a tab or sign that YAML does not allow here; indent with spaces, quote the text",
    ),
    (
        "mapping values are not allowed",
        "a second `:` in the line, or a wrong indent; put the text in quotes, or line the key up",
    ),
    ("could not find expected ':'", "a line without `:`; write `key: value`"),
    ("expected <block end>", "the indent does not fit the lines above; align the keys of a section"),
    ("found unexpected end of stream", "a quote is not closed; close it"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("found unknown escape", "a backslash in double quotes; use single quotes, or write \\\\"),
    ("found undefined alias", "an alias; write the value out"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, name: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = error.problem or "not readable as YAML"
    lines = text.splitlines()
    content = lines[line - 1] if line <= len(lines) else ""
    if re.match(r" *\t", content) or "'\\t'" in said:
        hint = "the line is indented with a tab; use spaces"
    else:
        hint = next((text for sign, text in _HINTS if sign in said), f"not readable as YAML: {said}")
    return Problem(f"{name}:{line}:{column}", "", hint, line=line)

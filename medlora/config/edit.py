"""One setting changed in the text of a file; comments, order and format of all the rest stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medlora.config.layers import plain
from medlora.config.scalars import write_scalar
from medlora.config.schema import setting_docs
from medlora.config.source import KeyNode, ListNode, Mark, Node, ScalarNode, TableNode, parse_source
from medlora.errors import ConfigError, InternalError, Problem

_BOM = "\ufeff"


def get_value(text: str, dotted: str) -> Any:
    """What the text itself says of a setting; None where it says nothing.

    Raises: ConfigError if the text is not readable.
    """
    found = _find(_parse(text), dotted)
    return None if found is None else plain(found[1])


def set_value(text: str, dotted: str, value: Any) -> str:
    """The text with that setting changed, or added where it belongs: in `overrides` of a template.

    Lists are written in brackets, texts of several lines as a block.

    Raises: ConfigError if the text is not readable.
    """
    if isinstance(value, str):
        value = value.replace("\r\n", "\n")
    mark = _BOM if text.startswith(_BOM) else ""
    body = text.removeprefix(_BOM)
    table = _parse(body)
    found = _find(table, dotted)
    changed = _replace(body, *found, value) if found else _add(body, table, dotted, value)
    if _comparable(get_value(changed, dotted)) != _comparable(value):
        message = "cannot be changed at its place; change it in the text"
        raise ConfigError([Problem("", dotted, message)])
    return mark + changed


def _comparable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parse(text: str) -> TableNode:
    """The text's table; a text of comments alone is an empty one."""
    lines = (line.strip() for line in text.removeprefix(_BOM).splitlines())
    if all(not line or line.startswith("#") for line in lines):
        return TableNode(Mark("text", 1, 1), (len(text), len(text)), {}, flow=False)
    return parse_source(text, "text")


def _find(table: TableNode, dotted: str) -> tuple[KeyNode, Node] | None:
    """Where a setting is written, the strongest place first: overrides, its section, the left margin."""
    path = dotted.split(".")
    overrides = table.entries.get("overrides")
    places = [overrides[1]] if overrides and isinstance(overrides[1], TableNode) else []
    for place in [*places, table]:
        found = _descend(place, path)
        if found:
            return found
    homes = [doc.key for doc in setting_docs() if doc.key.rsplit(".", 1)[-1] == path[-1]]
    return table.entries.get(path[-1]) if homes == [dotted] else None


def _descend(node: Node, path: list[str]) -> tuple[KeyNode, Node] | None:
    for depth, part in enumerate(path):
        if not isinstance(node, TableNode) or part not in node.entries:
            return None
        key, node = node.entries[part]
        if depth == len(path) - 1:
            return key, node
    return None


def _replace(text: str, key: KeyNode, node: Node, value: Any) -> str:
    start, end = node.span[0], _end(text, node)
    if isinstance(value, str) and "\n" in value and _stands_in_block(text, key):
        block = _block(value, " " * (key.mark.column + 1))
        if block:
            return _put_block(text, (start, end), *block)
    written = write_scalar(value)
    gap = " " if start == end or text[start - 1 : start] in ("", ":", "\n") else ""
    if isinstance(node, ListNode) and not node.flow:
        start = key.span[1] + 1
        gap = " "
    return text[:start] + gap + written + text[end:]


def _end(text: str, node: Node) -> int:
    """Where a value's own text ends; block values would otherwise reach to the next key."""
    if isinstance(node, ListNode) and not node.flow:
        return max((_end(text, item) for item in node.items), default=node.span[1])
    if isinstance(node, TableNode) and not node.flow:
        return max((_end(text, value) for _, value in node.entries.values()), default=node.span[1])
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):
        return node.span[0] + len(text[slice(*node.span)].rstrip())
    return node.span[1]


def _stands_in_block(text: str, key: KeyNode) -> bool:
    line_start = text.rfind("\n", 0, key.span[0]) + 1
    return not text[line_start : key.span[0]].strip()


def _block(value: str, indent: str) -> tuple[str, str] | None:
    """The head and lines of a literal block, or None for a text that would not survive one."""
    body = value.rstrip("\n")
    odd = any(not (char.isprintable() or char == "\n") for char in value)
    if not body or odd or body[0] in " \n" or value.endswith("\n\n"):
        return None
    lines = "\n".join(f"{indent}{line}" if line else "" for line in body.split("\n"))
    return ("|" if value.endswith("\n") else "|-"), lines


def _put_block(text: str, span: tuple[int, int], head: str, lines: str) -> str:
    """The head goes where the value stood, a comment behind it stays, the lines follow."""
    start, end = span
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    gap = " " if start == end else ""
    return f"{text[:start]}{gap}{head}{text[end:line_end].rstrip()}\n{lines}{text[line_end:] or chr(10)}"


@dataclass(frozen=True)
class _New:
    """What is to be added: the tables still missing on the way, and the value."""

    path: list[str]
    value: Any

    def flow(self) -> str:
        head, *rest = self.path
        if not rest:
            return f"{head}: {write_scalar(self.value)}"
        return f"{head}: {{{_New(rest, self.value).flow()}}}"

    def block(self, indent: str) -> str:
        head, *rest = self.path
        if rest:
            return f"{indent}{head}:\n{_New(rest, self.value).block(indent + '  ')}"
        if isinstance(self.value, str) and "\n" in self.value:
            block = _block(self.value, indent + "  ")
            if block:
                return f"{indent}{head}: {block[0]}\n{block[1]}\n"
        return f"{indent}{head}: {write_scalar(self.value)}\n"


def _add(text: str, table: TableNode, dotted: str, value: Any) -> str:
    path = dotted.split(".")
    is_template = "overrides" in table.entries or "base_template" in table.entries
    if is_template and not isinstance(table.entries.get(path[0], (None, None))[1], TableNode):
        path = ["overrides", *path]
    node: Node = table
    owner: KeyNode | None = None
    while isinstance(node, TableNode) and path[0] in node.entries and len(path) > 1:
        owner, node = node.entries[path.pop(0)]
    new = _New(path, value)
    if isinstance(node, TableNode) and node.flow:
        return _add_to_flow(text, node, new)
    if isinstance(node, TableNode):
        return _add_to_block(text, node, new)
    if owner is None or not (isinstance(node, ScalarNode) and node.value is None):
        raise InternalError("a setting can only be added to a table")
    indent = " " * (owner.mark.column + 1)
    at = _line_end(text, max(node.span[1], owner.span[1]))
    if text[slice(*node.span)].strip():
        text = text[: node.span[0]].rstrip(" ") + text[node.span[1] :]
        at = _line_end(text, owner.span[1])
    return _insert_lines(text, at, new.block(indent))


def _add_to_flow(text: str, node: TableNode, new: _New) -> str:
    close = node.span[1] - 1
    before = text[:close].rstrip()
    comma = "" if not node.entries or before.endswith(",") else ","
    return f"{before}{comma}{' ' if comma else ''}{new.flow()}{text[close:]}"


def _add_to_block(text: str, node: TableNode, new: _New) -> str:
    """After the last setting of the table, with the table's own indent."""
    if not node.entries:
        return _insert_lines(text, len(text), new.block(""))
    first = next(iter(node.entries.values()))[0]
    indent = " " * (first.mark.column - 1)
    at = _line_end(text, _end(text, node))
    gap = "\n" if len(new.path) > 1 else ""
    return _insert_lines(text, at, gap + new.block(indent))


def _line_end(text: str, position: int) -> int:
    """The start of the next line."""
    found = text.find("\n", position)
    return len(text) if found < 0 else found + 1


def _insert_lines(text: str, at: int, lines: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    before = text[:at]
    if before and not before.endswith("\n"):
        before += newline
    return before + lines.replace("\n", newline) + text[at:]

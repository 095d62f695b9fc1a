"""Templates: files that hold only their differences, laid over one another through `base_template`.

Every template is laid once, at its first place: [gpu_6gb, medical_qa] is default, then what gpu_6gb
changes, then what medical_qa changes, though both stand on default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from medlora.config.layers import Layer, plain, read_layer, show
from medlora.config.source import ListNode, Mark, ScalarNode, TableNode, parse_source, read_text
from medlora.config.translate import LEGACY_KEYS, translate_layer
from medlora.errors import ConfigError, Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIXES = (".yaml", ".yml")
_MOST_TEMPLATES = 20


@dataclass(frozen=True)
class TemplateSearch:
    """Where a configuration's files are: `folders` hold templates, `data_folders` datasets.

    The first folder that has a name wins. Without data folders, datasets are sought in the current one.
    """

    folders: tuple[Path, ...]
    data_folders: tuple[Path, ...] = ()

    def find(self, name: str, besides: Path | None = None) -> Path | None:
        """The template of that name, other than the file that asks for it."""
        if not _NAME.fullmatch(name):
            return None
        for folder in self.folders:
            for suffix in ("", *_SUFFIXES):
                path = folder / f"{name}{suffix}"
                if path.suffix in _SUFFIXES and path.is_file() and path.resolve() != besides:
                    return path
        return None

    def names(self) -> list[str]:
        """Every template there is."""
        found = {path.stem for folder in self.folders if folder.is_dir() for path in folder.glob("*.y*ml")}
        return sorted(found)

    def first(self, folder: Path) -> TemplateSearch:
        """The same search with one more folder looked at first."""
        others = tuple(other for other in self.folders if other.resolve() != folder.resolve())
        return TemplateSearch((folder, *others), self.data_folders)

    def display(self, path: Path) -> str:
        """How messages name a template: `configs/default.yaml` rather than its whole path."""
        inside = any(path.resolve().parent == folder.resolve() for folder in self.folders)
        return f"{path.resolve().parent.name}/{path.name}" if inside else str(path)


@dataclass
class _Stack:
    """The layers so far, weakest first, and the templates already laid."""

    search: TemplateSearch
    layers: list[Layer] = field(default_factory=list)
    laid: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def expand_templates(table: TableNode, name: str, path: Path | None, search: TemplateSearch) -> list[Layer]:
    """The layers of a file and of all it stands on, weakest first.

    The first layer holds no settings: only the problems of templates that are missing, unreadable, or
    stand on themselves.
    """
    stack = _Stack(search)
    _expand(stack, table, path, ((name, path),))
    return [Layer(problems=stack.problems), *stack.layers]


_Chain = tuple[tuple[str, Path | None], ...]


def _expand(stack: _Stack, table: TableNode, path: Path | None, chain: _Chain) -> None:
    for base, mark in _base_names(stack, table):
        _lay_template(stack, base, mark, path, chain)
    stack.layers.append(translate_layer(read_layer(table, legacy=LEGACY_KEYS)))
    if "overrides" not in table.entries:
        return
    key, node = table.entries["overrides"]
    if isinstance(node, TableNode):
        _refuse_nested(stack, node)
        stack.layers.append(translate_layer(read_layer(node, legacy=LEGACY_KEYS)))
    elif not (isinstance(node, ScalarNode) and node.value is None):
        message = f"must hold sections such as `lora:` (got {show(plain(node))})"
        stack.problems.append(Problem(str(key.mark), "overrides", message, line=key.mark.line))


def _refuse_nested(stack: _Stack, overrides: TableNode) -> None:
    for word in ("base_template", "overrides"):
        if word in overrides.entries:
            mark = overrides.entries[word][0].mark
            message = "stands inside `overrides:`; move it to the left margin"
            stack.problems.append(Problem(str(mark), word, message, line=mark.line))


def _base_names(stack: _Stack, table: TableNode) -> list[tuple[str, Mark]]:
    if "base_template" not in table.entries:
        if "overrides" not in table.entries:
            return []
        mark = table.entries["overrides"][0].mark
        layer = Layer(problems=[Problem(str(mark), "base_template", _NO_BASE, "notice", mark.line)])
        stack.layers.append(layer)
        return [("default", mark)]
    key, node = table.entries["base_template"]
    if isinstance(node, ScalarNode) and node.value is None:
        return []
    items = node.items if isinstance(node, ListNode) else [node]
    names = [(item.value, item.mark) for item in items if isinstance(item, ScalarNode)]
    if len(names) != len(items) or not all(isinstance(name, str) for name, _ in names):
        message = f"must be a template's name or a list of names (got {show(plain(node))})"
        stack.problems.append(Problem(str(key.mark), "base_template", message, line=key.mark.line))
        return []
    return [(str(name), mark) for name, mark in names]


_NO_BASE = "not set beside `overrides:`; read as base_template: default"


def _lay_template(stack: _Stack, base: str, mark: Mark, asker: Path | None, chain: _Chain) -> None:
    own = asker.resolve() if asker else None
    found = stack.search.find(base, besides=own) or stack.search.find(base)
    problem = None
    if found is None:
        problem = _missing(stack.search, base)
    elif any(path is not None and path.resolve() == found.resolve() for _, path in chain):
        names = " → ".join([name for name, _ in chain] + [stack.search.display(found)])
        problem = f"the templates go round in a circle ({names}); take one of them out"
    elif len(stack.laid) >= _MOST_TEMPLATES:
        problem = f"more than {_MOST_TEMPLATES} templates stand on one another; use fewer"
    if problem or found is None:
        stack.problems.append(Problem(str(mark), "base_template", problem or "", line=mark.line))
        return
    if found.resolve() in stack.laid:
        return
    stack.laid.add(found.resolve())
    name = stack.search.display(found)
    try:
        table = parse_source(read_text(found, name), name)
    except ConfigError as error:
        stack.problems.extend(error.problems)
        return
    _expand(stack, table, found, (*chain, (name, found)))


def _missing(search: TemplateSearch, base: str) -> str:
    stem = base.removesuffix(".yaml").removesuffix(".yml")
    names = search.names()
    close = get_close_matches(stem, names, 1, 0.6)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none'}"
    return f"there is no template of that name (got {show(base)}); {hint}"

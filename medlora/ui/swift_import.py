"""Gradio imported without what it does for its own developers.

Why: for each of its hundred components Gradio reads its source and its stub, parses both and writes the stub
anew where it differs, with every import. That is a large part of the import, and nothing that runs reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

MAKER = "gradio.component_meta"
"""The module whose `create_or_modify_pyi` writes the stubs."""


def import_gradio() -> None:
    """Import Gradio without its stubs; nothing if it is imported already."""
    if "gradio" in sys.modules:
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        import gradio  # noqa: F401
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds that one module as everybody does, and loads it without its maker of stubs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MAKER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.create_or_modify_pyi = _make_none  # type: ignore[attr-defined]


def _make_none(*_: Any) -> None:
    """No stub."""
